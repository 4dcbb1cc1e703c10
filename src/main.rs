//! The `formgate` command.

fn main() -> std::process::ExitCode {
    formgate::cli::run()
}
