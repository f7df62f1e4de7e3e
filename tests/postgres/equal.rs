//! equal
