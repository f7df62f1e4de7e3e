//! The program `pulse`: see [`pulse::cli`].

use std::os::unix::process::CommandExt;

/// Operators allocate and free on different threads; the system's allocator is slow at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the allocator keeps what is free before it gives it back to the system: it reads that before `main` and from here
/// only. Left alone it is a second, after which the buffers of a busy dataflow were zeroed by the kernel again and again.
const KEEP: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "30000");

fn main() -> std::process::ExitCode {
    if std::env::var_os(KEEP.0).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        let mut words = std::env::args_os();
        let name = words.next().unwrap_or_else(|| program.clone().into());
        // the same process goes on as the same program; where that is not allowed, with what it has
        let _refused = std::process::Command::new(program).arg0(name).args(words).env(KEEP.0, KEEP.1).exec();
    }
    pulse::cli::main()
}
