//! The `relais` command.

/// Keeps small allocations cheap across threads and gives memory back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // A huge page is resident as a whole however little of it is used. Where it is refused, only memory is lost.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    relais::cli::main()
}
