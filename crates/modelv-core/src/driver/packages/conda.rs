//! conda's `environment.yml`: one demand a line under `dependencies`, pip's below `pip`. A file laid
//! out otherwise is merged as any YAML.

use super::blocks::{Block, Split};
use crate::env::normal_name;

/// Begins the names of what pip installs.
const PIP: &str = "pip:";

/// Takes a file apart by its lines; `None` where it is laid out in another way.
pub(super) fn split(text: &str) -> Option<Split> {
    let mut out = Split::default();
    let mut lines = text.split_inclusive('\n');
    for line in lines.by_ref() {
        out.head.push_str(line);
        let rest = line.strip_prefix("dependencies:");
        if rest.is_some_and(|r| r.trim().is_empty() || r.trim().starts_with('#')) {
            break;
        }
    }
    let mut comments = String::new();
    let (mut outer, mut in_pip) = (None, false);
    let mut done = false;
    for line in lines {
        let bare = line.trim();
        let indent = line.len() - line.trim_start().len();
        if done || indent == 0 && !bare.is_empty() && !bare.starts_with(['-', '#']) {
            done = true;
            out.tail.push_str(&std::mem::take(&mut comments));
            out.tail.push_str(line);
            continue;
        }
        if bare.is_empty() || bare.starts_with('#') {
            comments.push_str(line);
            continue;
        }
        let says = bare.strip_prefix("- ")?.trim();
        let says = says.split(" #").next().unwrap_or(says).trim().to_owned();
        let outer = *outer.get_or_insert(indent);
        if indent <= outer {
            in_pip = false;
        } else if !in_pip {
            return None;
        }
        let name = if says == PIP {
            PIP.to_owned()
        } else {
            name(&says, in_pip)?
        };
        if says == PIP {
            in_pip = true;
        }
        let text = format!("{}{}", std::mem::take(&mut comments), line.trim_end());
        out.blocks.push(Block {
            name,
            version: says.clone(),
            text,
            says,
        });
    }
    out.tail.push_str(&comments);
    let mut names: Vec<&String> = out.blocks.iter().map(|b| &b.name).collect();
    names.sort();
    let once = names.windows(2).all(|w| w[0] != w[1]);
    (once && !out.blocks.is_empty()).then_some(out)
}

/// The name in a demand: behind its channel, before what is asked of its version.
fn name(says: &str, in_pip: bool) -> Option<String> {
    let plain = says.trim_matches(['"', '\'']);
    if in_pip {
        return super::key_of(plain).map(|key| format!("{PIP}{key}"));
    }
    if says.ends_with(':') || says.starts_with(['{', '[', '&', '*', '!']) {
        return None;
    }
    let plain = plain.rsplit("::").next().unwrap_or(plain);
    let end = plain.find(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)));
    let name = &plain[..end.unwrap_or(plain.len())];
    (!name.is_empty()).then(|| normal_name(name))
}

/// A demand as a line of its own, in the layout of the one it replaces.
pub(super) fn block(says: &str, like: Option<&Block>, key: &str) -> Option<Block> {
    let in_pip = key.starts_with(PIP) && key != PIP;
    let says = says.trim().to_owned();
    if says.contains('\n') || name(&says, in_pip)? != key {
        return None;
    }
    let indent = like.map_or(if in_pip { "      " } else { "  " }.to_owned(), |b| {
        let line = b.text.lines().last().unwrap_or("");
        line[..line.len() - line.trim_start().len()].to_owned()
    });
    Some(Block {
        name: key.to_owned(),
        version: says.clone(),
        text: format!("{indent}- {says}"),
        says,
    })
}
