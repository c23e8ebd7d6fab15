//! Errors for people: what failed, what caused it, and the command to type next. The only place
//! where hints are written (in the files below) and kinds become exit codes.

use std::process::ExitCode;

use modelv_repo::{Error, ErrorKind};

use crate::ui::{Style, Ui};

mod external;
pub(crate) mod git;
mod hints;
mod images;
mod records;
mod remotes;
mod states;

pub(crate) use images::model_hint;

/// An error with what to do about it.
#[derive(Debug)]
pub(crate) struct CommandError {
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    code: u8,
}

impl CommandError {
    /// A command line that makes no sense.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (message, hint) = (message.into(), Some(hint.into()));
        Self {
            message,
            causes: Vec::new(),
            hint,
            code: 2,
        }
    }

    /// What failed and why, for a log.
    pub(crate) fn in_a_line(&self) -> String {
        let all = std::iter::once(&self.message).chain(&self.causes);
        all.map(String::as_str).collect::<Vec<_>>().join(": ")
    }

    /// What it says, where another item can still be dealt with; `None`: damage or an interruption.
    pub(crate) fn may_go_on(&self) -> Option<&str> {
        (self.code < 3).then_some(&self.message)
    }

    /// What could not be done, although the command line makes sense.
    pub(crate) fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code: 1,
            ..Self::usage(message, hint)
        }
    }

    /// A failure outside of the library.
    pub(crate) fn failed(error: &dyn std::error::Error, hint: Option<String>) -> Self {
        Self {
            message: error.to_string(),
            causes: causes(error),
            hint,
            code: 1,
        }
    }

    pub(crate) fn report(&self, ui: &mut Ui) -> ExitCode {
        let head = ui.paint(Style::Removed, "error:");
        ui.talk(format!("{head} {}", self.message));
        for cause in &self.causes {
            ui.talk(format!("  caused by: {cause}"));
        }
        if let Some(hint) = &self.hint {
            let head = ui.paint(Style::Strong, "hint:");
            ui.talk(format!("\n{head} {hint}"));
        }
        ExitCode::from(self.code)
    }
}

fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut out = Vec::new();
    let mut at = error.source();
    while let Some(cause) = at {
        let text = cause.to_string();
        // Many a library repeats in each error what its cause says.
        if !out
            .last()
            .is_some_and(|before: &String| before.contains(&text))
        {
            out.push(text);
        }
        at = cause.source();
    }
    out
}

impl From<Error> for CommandError {
    fn from(e: Error) -> Self {
        let code = match (&e, e.kind()) {
            (Error::ConflictsRemain { .. }, _) => 3,
            (_, ErrorKind::Corrupt) => 4,
            (_, ErrorKind::Cancelled) => 130,
            _ => 1,
        };
        Self {
            message: e.to_string(),
            causes: causes(&e),
            hint: hints::hint(&e)
                .or_else(|| hints::file_hint(&e))
                .or_else(|| remotes::team_hint(&e)),
            code,
        }
    }
}
