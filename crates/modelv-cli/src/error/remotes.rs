//! Hints about remotes and clones.

use modelv_repo::remote::{RemoteError, Trouble};
use modelv_repo::{Error, StoreError};

/// Hints about remotes and clones.
pub(super) fn team_hint(e: &Error) -> Option<String> {
    let text = match e {
        Error::Rejected { refs, .. } => return Some(rejected_hint(refs)),
        Error::Remote(e) => return remote_hint(e),
        Error::NotHere {
            source: Some(cause),
            ..
        } => {
            return team_hint(cause).map(|hint| {
                format!(
                    "{hint}\n`modelv fetch PATH` brings contents that are to be read offline later"
                )
            });
        }
        Error::NotHere { .. } => {
            "no remote of this clone has it any more: `modelv remote add NAME URL` names another one"
        }
        Error::Store(StoreError::Elsewhere {
            source: Some(cause),
            ..
        }) => {
            let StoreError::Remote(e) = &**cause else {
                return None;
            };
            return remote_hint(e);
        }
        Error::Store(StoreError::Remote(e)) => return remote_hint(e),
        Error::NotFound { what: "remote", .. } => {
            "`modelv remote list` lists them; `modelv remote add NAME URL` adds one"
        }
        Error::NotFound {
            what: "repository", ..
        } => "check the address; the first `modelv push` makes a repository there",
        Error::Exists { what: "remote", .. } => "`modelv remote remove NAME` forgets it",
        Error::Exists {
            what: "folder with content",
            ..
        } => "name a folder that is empty or missing",
        Error::Store(StoreError::Busy { .. }) => "wait until it has ended, and try again",
        Error::Store(StoreError::NotFound { what, .. }) => return not_here(what),
        Error::State(text) if text.contains("a working copy, no remote") => {
            "`modelv push` from there to an empty folder, and name that folder here"
        }
        Error::State(text) if text.contains("bare repository") => {
            "`modelv clone URL DIR` makes one with a working tree"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn rejected_hint(refs: &[(String, &'static str)]) -> String {
    let any = |reason: &str| refs.iter().any(|(_, r)| r.contains(reason));
    let text = if any("the alias was moved there") {
        "`modelv fetch` says where to; `modelv alias delete NAME` and another fetch take that move, then move it again"
    } else if any("fetch first") {
        "somebody else has pushed: `modelv pull` merges it, then push again"
    } else if any("nothing there has") {
        "`modelv remote list --json` lists the branches there; `modelv fetch --prune` forgets those that are gone"
    } else if any("since it was last fetched") {
        "`modelv fetch` shows what is there now; look before you replace it"
    } else if any("tag") {
        "tags don't move; `modelv push --delete REMOTE TAG` removes one there"
    } else {
        "push another branch first, or keep this one"
    };
    text.to_owned()
}

/// What a clone may lack without being damaged.
fn not_here(what: &str) -> Option<String> {
    let text = match what {
        "file content" | "chunk" | "cuts record" => {
            "this clone holds a part: `modelv fetch --add data` (or model, code, config) brings it"
        }
        "commit" => {
            "this clone may lack a part of the history: `modelv fetch --unshallow` brings it"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn remote_hint(e: &RemoteError) -> Option<String> {
    let (trouble, url) = match e {
        RemoteError::Access { trouble, url, .. } => (*trouble, url.as_str()),
        RemoteError::Address { .. } => {
            return Some(
                "for example `s3://bucket/prefix`, `file:///srv/models` or `../models`".into(),
            );
        }
        RemoteError::NoSwap { .. } => {
            return Some(
                "two pushes at once would lose one there; use a store with conditional writes, or a folder".into(),
            );
        }
        RemoteError::Unknown { .. } => {
            return Some("`modelv fetch` shows whether it happened; pushing again is safe".into());
        }
        RemoteError::Busy { .. } | RemoteError::Collected { .. } => {
            return Some("try again".into());
        }
        RemoteError::Corrupt { .. } => {
            return Some("nothing has changed here; push again from a clone that has it".into());
        }
        _ => return None,
    };
    let is = |scheme: &str| url.starts_with(scheme);
    let text = match trouble {
        Trouble::Credentials if is("s3:") => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE for one of ~/.aws/credentials"
        }
        Trouble::Credentials if is("gs:") => {
            "set GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth application-default login`"
        }
        Trouble::Credentials if is("az:") => {
            "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or a SAS token or client id)"
        }
        Trouble::Denied => {
            "ask for the right to read, list and write there, or use other credentials"
        }
        Trouble::Bucket => "make the bucket first, or check its name and `--endpoint`",
        Trouble::Region => {
            "name the bucket's region: `modelv remote add NAME URL --region REGION`, or AWS_REGION"
        }
        Trouble::Clock => "set this machine's clock: requests are signed with the time",
        Trouble::Name if is("s3:") => {
            "check the region (`--region`, AWS_REGION), which is part of AWS's host, or `--endpoint`, and the network"
        }
        Trouble::Name if is("az:") => {
            "check AZURE_STORAGE_ACCOUNT_NAME, which Azure's host begins with, or `--endpoint`, and the network"
        }
        Trouble::Name => "check the host in `--endpoint` and the network",
        Trouble::Refused => "check that the service runs, and host and port of `--endpoint`",
        Trouble::Tls => {
            "SSL_CERT_FILE names further certificates; plain `http://` to another machine needs AWS_ALLOW_HTTP=true"
        }
        Trouble::Timeout => "check the network and try again: what has arrived is not sent again",
        Trouble::ReadOnly => "push to another remote; this one serves reading",
        Trouble::Gone => {
            "mount or bring back what was there; a remote that has moved: `modelv remote remove NAME`, then \
             `modelv remote add NAME URL`"
        }
        Trouble::Missing => "`modelv fsck` in the clone that pushed last, and push again",
        _ => return None,
    };
    Some(text.to_owned())
}
