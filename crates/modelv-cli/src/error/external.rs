//! Hints about data by reference.

use modelv_repo::Error;

pub(super) fn hint(e: &Error) -> Option<String> {
    let text = match e {
        Error::NotAllowed { path, .. } => {
            return Some(format!(
                "`modelv external fetch {path}` asks it this once; `modelv config external.allow 'PATTERN'` lets \
                 all like it be asked, such as `file:///data/**` or `http://10.0.0.7/**`"
            ));
        }
        Error::SourceChanged { .. } => {
            "`modelv external update PATH` takes what is there as a change to commit; \
             `modelv config external.fetch off` switches without external data"
        }
        Error::NotFound { what: "source", .. } => "check the address: nothing is there",
        Error::NotFound {
            what: "external data",
            ..
        } => "`modelv external` lists what there is; `modelv add-external URL PATH` adds some",
        Error::Exists { what: "file", .. } => {
            "name another path, or move it away; `modelv external update` takes what is new of what was added before"
        }
        Error::Invalid {
            what: "description of external data",
            ..
        } => "`modelv restore PATH` brings the committed one back",
        Error::State(text) if text.contains("names no external data") => {
            "`modelv add-external URL PATH` adds some; or a line `\"PATH\" = \"s3://BUCKET/KEY\"` below `[external]` there"
        }
        Error::State(text) if text.contains(", and `[external]` names `") => {
            "change that line; or remove the file and its description, and `modelv add-external` records it anew"
        }
        Error::State(text) if text.starts_with("`[external]` names `") => {
            "`modelv add-external URL PATH` asks it because you say so; `modelv config external.allow 'PATTERN'` lets \
             all like it be asked"
        }
        Error::State(text) if text.starts_with("the address has `") => {
            "`modelv import-url 'URL' PATH` takes a copy and writes the address down nowhere"
        }
        Error::State(text) if text.starts_with("external data") && text.contains("never read") => {
            "`modelv external update PATH` reads it and records what it holds"
        }
        Error::State(text) if text.starts_with("external data") => {
            "remove it, then `modelv external fetch` brings what is recorded; to keep the change, remove the \
             description beside it and commit the file itself"
        }
        _ => return None,
    };
    Some(text.to_owned())
}
