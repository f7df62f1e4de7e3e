//! The program `pulse`: see [`pulse::cli`].

/// Operators allocate and free on different threads; the system's allocator is slow at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    pulse::cli::main()
}
