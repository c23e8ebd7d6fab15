//! The library's errors as Python's exceptions, by kind. The classes are in `modelv/_errors.py`.

use modelv_repo::capture::secrets::Finding;
use modelv_repo::{Error, ErrorKind};
use pyo3::PyErr;

/// Exceptions that are defined in Python, so that they can have two bases and documentation.
mod classes {
    use pyo3::import_exception;

    import_exception!(modelv._errors, AlreadyExists);
    import_exception!(modelv._errors, ConflictError);
    import_exception!(modelv._errors, CorruptError);
    import_exception!(modelv._errors, Error);
    import_exception!(modelv._errors, NewerFormat);
    import_exception!(modelv._errors, NotARepository);
    import_exception!(modelv._errors, NothingToCommit);
    import_exception!(modelv._errors, PathNotFound);
    import_exception!(modelv._errors, RevisionError);
    import_exception!(modelv._errors, SecretsFound);
}

/// An error with its causes, as the exception of its kind.
pub(crate) fn to_py(error: &Error) -> PyErr {
    let text = message(error);
    match (error, error.kind()) {
        (Error::NotARepository { .. }, _) => classes::NotARepository::new_err(text),
        (Error::NothingToCommit { .. }, _) => classes::NothingToCommit::new_err(text),
        (Error::Secrets { findings }, _) => {
            let rows: Vec<_> = findings.iter().map(row).collect();
            classes::SecretsFound::new_err((text, rows))
        }
        (
            Error::Ambiguous { .. }
            | Error::NotFound {
                what: "revision" | "branch" | "tag",
                ..
            }
            | Error::Invalid {
                what: "revision", ..
            },
            _,
        ) => classes::RevisionError::new_err(text),
        (Error::NotFound { what: "path", .. }, _) => classes::PathNotFound::new_err(text),
        (_, ErrorKind::Conflict) => classes::ConflictError::new_err(text),
        (_, ErrorKind::Exists) => classes::AlreadyExists::new_err(text),
        (_, ErrorKind::Unsupported) => classes::NewerFormat::new_err(text),
        (_, ErrorKind::Corrupt) => classes::CorruptError::new_err(text),
        (_, ErrorKind::Cancelled) => pyo3::exceptions::PyKeyboardInterrupt::new_err(()),
        _ => classes::Error::new_err(text),
    }
}

/// A finding as `SecretsFound` takes it; never with the value.
fn row(finding: &Finding) -> (String, u64, &'static str, String, String) {
    let Finding {
        path,
        line,
        rule,
        masked,
        key,
    } = finding;
    (path.clone(), *line, rule, masked.clone(), key.clone())
}

/// A merge that left conflicts to decide, with the conflicts as its second argument.
pub(crate) fn conflicts(text: String, items: Vec<String>) -> PyErr {
    classes::ConflictError::new_err((text, items))
}

fn message(error: &Error) -> String {
    let mut text = error.to_string();
    let mut at = std::error::Error::source(error);
    while let Some(cause) = at {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        at = cause.source();
    }
    text
}
