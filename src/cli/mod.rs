//! The command line: one file per command.

/// Prints a line. A reader that has gone, such as `head`, is no reason to end.
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _gone = writeln!(std::io::stdout(), $($argument)*);
    }};
}

mod api_token;
mod apps_script;
mod audit;
mod compile;
mod connect;
mod demo;
mod destinations;
mod flow;
mod forms;
mod keys;
mod play;
mod sandbox;
mod serve;
mod store;
mod submissions;
mod token;
mod validate;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::app::{self, control::Told};
use crate::config::{self, Config};

/// Turns the forms a team already has into WhatsApp Flows, hosts their encrypted endpoint, and puts every submission back.
#[derive(Debug, Parser)]
#[command(name = "formgate", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything on one machine, without any configuration: sample forms, the endpoint, a webhook inbox, form tools, walks
    Demo(demo::Args),
    /// Serve the flows of the configuration
    Serve(serve::Args),
    /// Turn a form definition into flow.json and a fidelity report
    Compile(compile::Args),
    /// Check a Flow JSON file against Meta's rules
    Validate(validate::Args),
    /// The private keys of numbers
    Keys(keys::Args),
    /// Make a sealed flow token
    Token(token::Args),
    /// Walk a flow as WhatsApp would
    Play(play::Args),
    /// What was submitted, and where it went
    Submissions(submissions::Args),
    /// Where submissions go: look, pause, resume
    Destinations(destinations::Args),
    /// Tokens of the management API
    ApiToken(api_token::Args),
    /// Print the script by which a Google form takes submissions officially, for its owner to paste
    AppsScript(apps_script::Args),
    /// Connect an account of a form tool: prints a link for the browser, or takes a token
    Connect(connect::Args),
    /// The connected accounts: look, check, remove
    Connections(connect::ManyArgs),
    /// The four form tools as stand-ins on this machine, to try connecting without an account
    Sandbox(sandbox::Args),
    /// Flows, their versions, and changes of their forms
    Flow(flow::Args),
    /// The forms that a connection leads to
    Forms(forms::ListArgs),
    /// Read a form through a connection: the definition goes to standard output, what becomes of it to standard error
    Import(forms::ImportArgs),
    /// What was done, by whom and when
    Audit(audit::Args),
    /// Check, back up and restore what is stored
    Store(store::Args),
}

/// Why a command failed: said once, on standard error.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Config(#[from] config::Faults),
    #[error("{0}")]
    App(#[from] app::Error),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Input(String),
    #[error("the runtime cannot start: {0}")]
    Runtime(std::io::Error),
    #[error("{0}")]
    Walk(#[from] crate::player::Error),
    #[error("{0}")]
    Outbox(#[from] crate::outbox::Error),
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file; without it the defaults and FORMGATE_… variables count
    #[arg(long, global = true, value_name = "FILE", default_value = "formgate.toml")]
    config: PathBuf,
}

impl ConfigFile {
    fn load(&self) -> Result<Config, Error> {
        let is_default = self.config == Path::new("formgate.toml") && !self.config.exists();
        let path = (!is_default).then_some(self.config.as_path());
        #[cfg_attr(not(feature = "faults"), expect(unused_mut))]
        let mut config = Config::load(path, config::environment())?;
        #[cfg(feature = "faults")]
        crate::fault::arm(std::mem::take(&mut config.faults));
        Ok(config)
    }
}

/// Runs the command line of this process.
///
/// Exit codes: 0 done, 1 not as it should be, 2 wrong use or unreadable input.
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Compile(args) => compile::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Serve(args) => block_on(serve::run(args)),
        Command::Keys(args) => block_on(keys::run(args)),
        Command::Token(args) => block_on(token::run(args)),
        Command::Play(args) => block_on(play::run(args)),
        Command::Submissions(args) => block_on(submissions::run(args)),
        Command::Destinations(args) => block_on(destinations::run(args)),
        Command::ApiToken(args) => block_on(api_token::run(args)),
        Command::AppsScript(args) => apps_script::run(&args),
        Command::Connect(args) => block_on(connect::run(args)),
        Command::Connections(args) => block_on(connect::run_many(args)),
        Command::Sandbox(args) => block_on(sandbox::run(args)),
        Command::Flow(args) => block_on(flow::run(args)),
        Command::Forms(args) => block_on(forms::list(args)),
        Command::Import(args) => block_on(forms::import(args)),
        Command::Audit(args) => block_on(audit::run(args)),
        Command::Store(args) => block_on(store::run(args)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("formgate: {error}");
            match error {
                Error::Config(_) | Error::File { .. } | Error::Input(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn block_on(command: impl Future<Output = Result<ExitCode, Error>>) -> Result<ExitCode, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Runtime)?;
    runtime.block_on(command)
}

/// What a bar on a terminal counts.
enum Counted {
    /// The results, while they go elsewhere.
    Lines(&'static str),
    /// What the command itself says.
    Progress(&'static str),
}

/// Runs a command on the store, on the running server if there is one. Results go to standard output, remarks to standard
/// error; `counted` says what a bar on a terminal counts.
async fn control(
    config: &Config,
    command: app::control::Command,
    counted: Option<Counted>,
) -> Result<ExitCode, Error> {
    use std::io::{IsTerminal as _, Write as _};
    let out = std::io::stdout();
    let (bar, counts_lines) = match counted {
        Some(Counted::Lines(what)) if !out.is_terminal() => {
            (waiting("{spinner} {pos} {msg} ({elapsed})", what), true)
        }
        Some(Counted::Progress(what)) => {
            (waiting("{spinner} {bar:30} {pos} of {len} {msg} ({eta})", what), false)
        }
        _ => (ProgressBar::hidden(), false),
    };
    let mut out = std::io::BufWriter::new(out.lock());
    let mut wrote = Ok(());
    let mut write = |told: Told| match told {
        Told::Line(line) if wrote.is_ok() => {
            if counts_lines {
                bar.inc(1);
            }
            wrote = writeln!(out, "{line}");
        }
        Told::Remark(remark) => bar.suspend(|| eprintln!("{remark}")),
        Told::Progress { done, of } => {
            bar.set_length(of);
            bar.set_position(done);
        }
        _ => {}
    };
    app::control::run(config, command, &mut write).await?;
    bar.finish_and_clear();
    // A reader that has seen enough, such as head, is no failure.
    match wrote.and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Input(format!("standard output: {error}")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// A line on standard error while a person waits; nothing where that is no terminal.
fn waiting(template: &str, what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let bar = match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Says nothing of a panic but where it was: its message may quote an answer.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        tracing::error!(place, "a task panicked");
    }));
}

/// Completes at SIGINT or SIGTERM.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match &mut signals {
        (Ok(interrupt), Ok(terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}
