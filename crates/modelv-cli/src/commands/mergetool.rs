//! `modelv mergetool`.

use std::process::ExitCode;

use modelv_repo::{ConflictState, Decision};

use super::{Done, Session};
use crate::editor;
use crate::error::CommandError;

/// Decide open conflicts, one after the other, in the merge tool or the editor.
///
/// The tool is $MODELV_MERGETOOL, else `modelv config merge.tool`: meld, kdiff3, vimdiff, nvimdiff, code,
/// another program, which is given BASE LOCAL REMOTE MERGED, or a command line that uses these as variables
/// (`mytool "$LOCAL" "$MERGED"`). It decides texts; values (keys, packages, rows) are decided in $VISUAL or
/// $EDITOR. What it leaves undecided stays open, and the next conflict is next.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these, as `modelv conflicts` names them.
    items: Vec<String>,
}

pub(super) fn run(args: &Args, s: Session<'_>) -> Done {
    let mut repo = s.repo()?;
    let Some(state) = repo.merge_state()? else {
        return Err(CommandError::usage(
            "no merge is under way",
            "`modelv merge REV` begins one",
        ));
    };
    let mut items = Vec::with_capacity(args.items.len());
    for item in &args.items {
        let at = ConflictState::find(&state.conflicts, item)?;
        items.push(state.conflicts[at].item.clone());
    }
    let tool = editor::merge_tool(&repo);
    let wanted = |item: &String| items.is_empty() || items.contains(item);
    for conflict in state.open().filter(|c| wanted(&c.item)) {
        let is_text = matches!(conflict.kind.as_str(), "text" | "add/add");
        let decision: Result<Decision, CommandError> = match (&conflict.part, &tool) {
            _ if conflict.kind == "env" || (conflict.part.is_none() && !is_text) => {
                s.ui.talk(format!(
                    "{} ({}): no tool helps; `modelv resolve` it with --ours or --theirs",
                    conflict.item, conflict.kind
                ));
                continue;
            }
            (Some(_), _) if !editor::is_set() => {
                s.ui.talk(format!(
                    "{} ({}): a value goes to the editor, and none is set; `modelv resolve {} --ours`, \
                     `--theirs` or `--value V`",
                    conflict.item,
                    conflict.kind,
                    editor::quoted(&conflict.item)
                ));
                continue;
            }
            (None, Some(tool)) => editor::merge(&repo, conflict, tool),
            _ => editor::edit(&repo, conflict),
        };
        let decided = decision
            .and_then(|decision| Ok(repo.resolve_conflict(&conflict.item, &decision, &s.ctx())?));
        // One that is left open keeps nobody from the others; alone it is what the command came to.
        match decided {
            Ok(()) => s.ui.line(format!("decided {}", conflict.item)),
            Err(e) => match e.may_go_on() {
                Some(why) => s.ui.warn(format!("{} stays open: {why}", conflict.item)),
                None => return Err(e),
            },
        }
    }
    let open = repo.merge_state()?.map_or(0, |m| m.open().count());
    let verb = state.action.word();
    if open > 0 {
        s.ui.talk(format!("{open} open"));
        return Ok(ExitCode::from(super::merge::CONFLICTS));
    }
    s.ui.talk(format!(
        "\nhint: `modelv {verb} --continue` commits the {verb}"
    ));
    Ok(ExitCode::SUCCESS)
}
