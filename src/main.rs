//! argv in, exit code out.

fn main() -> std::process::ExitCode {
    mini_emperor::cli::main()
}
