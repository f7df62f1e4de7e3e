//! Settings of the dashboard, in the section `[sidecar]`.

use crate::access::users::Role;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Who may come in without a password of ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DashboardConfig {
    /// Header in which a proxy that signs people in names them; empty: none.
    pub trusted_user_header: String,
    /// What people may do whom the proxy names and who have no account.
    pub trusted_user_role: Role,
    /// Networks of those proxies; from elsewhere the header is not looked at.
    pub trusted_proxies: Vec<IpNet>,
}
impl Default for DashboardConfig {
    fn default() -> Self {
        DashboardConfig {
            trusted_user_header: String::new(),
            trusted_user_role: Role::Viewer,
            trusted_proxies: Vec::new(),
        }
    }
}

impl DashboardConfig {
    /// A header without networks would let everybody in who can write it.
    pub fn check(&self) -> Result<(), String> {
        let header = &self.trusted_user_header;
        if header.is_empty() {
            return Ok(());
        }
        axum::http::HeaderName::from_bytes(header.as_bytes())
            .map_err(|_| "sidecar.trusted_user_header is no name of a header".to_owned())?;
        match self.trusted_proxies.is_empty() {
            true => Err("sidecar.trusted_proxies must name the proxy's network, such as [\"10.0.0.7/32\"], when sidecar.trusted_user_header is set".into()),
            false => Ok(()),
        }
    }
}
