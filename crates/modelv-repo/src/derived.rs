//! Whether the files that are only there to save time are what they should be. Each is checked
//! whenever it is used, and left out when it is damaged: nothing here is ever a wrong answer. Must
//! never write.

use crate::capture::env;
use crate::repo::Repo;
use crate::worktree::StatCache;

impl Repo {
    /// One line for each derived file of the repository (those of the store aside) that is damaged.
    /// They are made again by the next command that uses them.
    #[must_use]
    pub fn check_derived(&self) -> Vec<String> {
        let damaged = |name: &str, is_sound: &dyn Fn(&[u8]) -> bool| {
            let path = self.dir().join(name);
            let bytes = std::fs::read(&path).ok()?;
            (!is_sound(&bytes)).then(|| format!("`{}` is damaged", path.display()))
        };
        let tip = || {
            let sound = self.oplog().is_tip_sound();
            (!sound).then(|| format!("`{}` is damaged", self.dir().join("oplog.tip").display()))
        };
        let checkpoint = || {
            let sound = self.oplog().is_checkpoint_sound();
            (!sound).then(|| format!("`{}` is damaged", self.dir().join("oplog.refs").display()))
        };
        [
            damaged("statcache", &StatCache::is_sound),
            damaged("stagecache", &StatCache::is_sound),
            damaged(crate::external::CACHE, &StatCache::is_sound),
            damaged("envcache", &env::is_cache_sound),
            damaged(crate::capture::installed::CACHE, &env::is_cache_sound),
            damaged("commitgraph", &crate::commitgraph::is_sound),
            damaged("runindex", &crate::runs::is_sound),
            tip(),
            checkpoint(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
