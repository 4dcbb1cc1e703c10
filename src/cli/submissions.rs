//! `formgate submissions`

use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigFile, Counted, Error, control};
use crate::app::control::{Command as Control, Keep};
use crate::outbox::{By, Person, ReplayFilter, SubmissionId};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The newest submissions and where each delivery stands
    List {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Only of this flow
        #[arg(long)]
        flow: Option<String>,
        /// Only those with a delivery that was given up
        #[arg(long)]
        dead: bool,
    },
    /// One submission with its attempts
    Show {
        /// Its id
        id: uuid::Uuid,
    },
    /// Deliver again what was given up, under the same idempotency key
    Replay(Replay),
    /// Every submission, or those of one person, one JSON object a line
    Export {
        /// Only of this flow
        #[arg(long)]
        flow: Option<String>,
        #[command(flatten)]
        person: Option<Whose>,
    },
    /// Erase every submission of a person, whatever became of it
    Erase {
        #[command(flatten)]
        person: Whose,
    },
}

/// Whose submissions.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Whose {
    /// Of this phone number: the contact's, or one that was an answer
    #[arg(long)]
    phone: Option<String>,
    /// Of WhatsApp's id of the person for this business
    #[arg(long)]
    user_id: Option<String>,
    /// Of this e-mail address, that was an answer or a hidden value
    #[arg(long)]
    email: Option<String>,
    /// Of this flow token
    #[arg(long)]
    token: Option<String>,
}

impl Whose {
    fn person(self) -> Result<Person, Error> {
        let given = [
            (By::Phone, self.phone),
            (By::UserId, self.user_id),
            (By::Email, self.email),
            (By::Token, self.token),
        ];
        let given = given.into_iter().find_map(|(by, text)| Some((by, text?)));
        let (by, text) = given.ok_or_else(|| {
            Error::Input("name the person by --phone, --user-id, --email or --token".to_owned())
        })?;
        Person::new(by, &text).map_err(|error| Error::Input(error.to_string()))
    }
}

#[derive(Debug, clap::Args)]
struct Replay {
    /// The submission's id
    #[arg(required_unless_present_any = ["all_dead", "cancel"], conflicts_with = "all_dead")]
    id: Option<uuid::Uuid>,
    /// Everything that was given up, after the submissions that come in meanwhile
    #[arg(long)]
    all_dead: bool,
    /// Only to this destination
    #[arg(long, requires = "all_dead", value_name = "ID")]
    destination: Option<String>,
    /// Only of this flow
    #[arg(long, requires = "all_dead", value_name = "ID")]
    flow: Option<String>,
    /// Only what was given up at this time or later, for example 2026-11-24T09:00:00Z
    #[arg(long, requires = "all_dead", value_name = "RFC3339")]
    since: Option<jiff::Timestamp>,
    /// Under new idempotency keys: a destination that has a submission already will have it twice
    #[arg(long)]
    as_new: bool,
    /// End the replays that are under way; what they made due is sent
    #[arg(long, conflicts_with_all = ["id", "all_dead", "as_new"])]
    cancel: bool,
}

impl Replay {
    fn command(self) -> Control {
        match self.id {
            None if self.cancel => Control::CancelReplays,
            Some(id) => Control::ReplaySubmission { id: SubmissionId::new(id), as_new: self.as_new },
            None => {
                let since_ms = self.since.map(jiff::Timestamp::as_millisecond);
                let filter = ReplayFilter { destination: self.destination, flow_id: self.flow, since_ms };
                Control::ReplayDead { filter, as_new: self.as_new }
            }
        }
    }
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let (command, counted) = match args.command {
        Command::List { limit, flow, dead } => (Control::ListSubmissions { limit, flow, dead }, None),
        Command::Show { id } => (Control::ShowSubmission { id: SubmissionId::new(id) }, None),
        Command::Replay(replay) => {
            let counted = replay.all_dead.then_some(Counted::Progress("deliveries"));
            (replay.command(), counted)
        }
        Command::Export { person: Some(_), flow: Some(_) } => {
            return Err(Error::Input("name a flow or a person, not both".to_owned()));
        }
        Command::Export { person: Some(person), flow: None } => (
            Control::Keep(Keep::ExportPerson { person: person.person()? }),
            Some(Counted::Lines("submissions")),
        ),
        Command::Export { flow, person: None } => {
            (Control::ExportSubmissions { flow }, Some(Counted::Lines("submissions")))
        }
        Command::Erase { person } => (Control::Keep(Keep::ErasePerson { person: person.person()? }), None),
    };
    control(&config, command, counted).await
}
