//! The run directory: sockets and configuration of one server, for its user's eyes only.
//!
//! A launcher that is killed cannot remove its own. Each holds a lock in its directory, which the
//! system lets go when the process ends in any way; the next launcher removes what nobody holds.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use tempfile::TempDir;
use text_generation_router::config::ServeConfig;

use crate::error::LaunchError;

const PREFIX: &str = "text-generation-";
const LOCK: &str = "lock";

/// A fresh folder of mode 0700, removed on drop.
#[derive(Debug)]
pub struct RunDir {
    dir: TempDir,
    /// Locked as long as it is open.
    _lock: File,
}

impl RunDir {
    /// Makes the folder in the system's folder for temporary files, and removes those of this user
    /// whose launcher was killed.
    ///
    /// # Errors
    /// [`LaunchError::RunDir`].
    pub fn create() -> Result<Self, LaunchError> {
        Self::create_in(&std::env::temp_dir()).map_err(LaunchError::RunDir)
    }

    fn create_in(parent: &Path) -> io::Result<Self> {
        sweep(parent);
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)?;
        let lock = lock_new(dir.path())?;
        Ok(Self { dir, _lock: lock })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes what the shards read; the key is not part of it. Returns the file's path.
    ///
    /// # Errors
    /// [`LaunchError::RunDir`].
    pub fn write_config(&self, config: &ServeConfig) -> Result<PathBuf, LaunchError> {
        let path = self.path().join("config.json");
        write_private(&path, config).map_err(LaunchError::RunDir)?;
        Ok(path)
    }
}

/// Makes the lock file. It gets its name when it is locked: under that name it is never free while
/// its launcher lives.
fn lock_new(dir: &Path) -> io::Result<File> {
    let unnamed = dir.join("lock.new");
    let file = File::create_new(&unnamed)?;
    file.lock()?;
    fs::rename(unnamed, dir.join(LOCK))?;
    Ok(file)
}

/// Removes the run directories of this user that no launcher holds.
fn sweep(parent: &Path) {
    // What cannot be read or removed does not keep a server from starting.
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_abandoned(&path) {
            match fs::remove_dir_all(&path) {
                Ok(()) => tracing::info!("removed {}, left by a killed server", path.display()),
                Err(error) => tracing::warn!("cannot remove {}: {error}", path.display()),
            }
        }
    }
}

/// Whether it is a run directory of this user whose lock is free.
fn is_abandoned(path: &Path) -> bool {
    // Without following links: others may put theirs into a folder that all can write.
    let is_own = fs::symlink_metadata(path)
        .is_ok_and(|data| data.is_dir() && data.uid() == geteuid().as_raw());
    is_own && File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

fn write_private(path: &Path, config: &ServeConfig) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    serde_json::to_writer_pretty(&mut file, config)?;
    file.write_all(b"\n")
}

/// Removes the sockets that ended shards left behind, so that none is mistaken for a live one.
pub(crate) fn remove_sockets(run_dir: &Path, ranks: u32) {
    for rank in 0..ranks {
        // Absent is what we want; a socket that stays makes the shard's bind fail, which says why.
        let _ = fs::remove_file(run_dir.join(format!("shard-{rank}.sock")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;
    use crate::resolve::resolve;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path)
            .expect("the path exists")
            .permissions()
            .mode()
            & 0o777
    }

    /// A folder as a launcher leaves it that is killed with -9.
    fn abandoned(parent: &Path) -> PathBuf {
        let RunDir { dir, _lock } = RunDir::create_in(parent).expect("the folder is ours");
        fs::write(dir.path().join("config.json"), "{}").expect("the folder is ours");
        dir.keep()
    }

    #[test]
    fn what_a_killed_launcher_left_is_removed_by_the_next_one() {
        let parent = tempfile::tempdir().expect("temporary folders work");
        let (first, second) = (abandoned(parent.path()), abandoned(parent.path()));
        assert!(!first.exists() && second.exists());
        let live = RunDir::create_in(parent.path()).expect("the folder is ours");
        assert!(!second.exists() && live.path().exists());
    }

    #[test]
    fn what_a_launcher_holds_or_never_made_stays() {
        let parent = tempfile::tempdir().expect("temporary folders work");
        let live = RunDir::create_in(parent.path()).expect("the folder is ours");
        let made = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).expect("the folder is ours");
            path
        };
        // One that another launcher is about to lock, and one of another program.
        let (fresh, foreign) = (made("text-generation-new"), made("other-dir"));
        fs::write(foreign.join(LOCK), "").expect("the folder is ours");
        let link = parent.path().join("text-generation-link");
        std::os::unix::fs::symlink(&foreign, &link).expect("the folder is ours");
        let second = RunDir::create_in(parent.path()).expect("the folder is ours");
        for path in [live.path(), second.path(), &fresh, &foreign, &link] {
            assert!(path.exists(), "{}", path.display());
        }
    }

    #[test]
    fn only_its_user_can_read_it_and_nothing_stays() {
        let run_dir = RunDir::create().expect("temporary folders work");
        let parsed = parse(["launcher"]).expect("no flag is needed");
        let config = resolve(parsed, run_dir.path()).expect("the defaults are right");
        let file = run_dir.write_config(&config).expect("the folder is ours");
        assert_eq!((mode(run_dir.path()), mode(&file)), (0o700, 0o600));
        let written: ServeConfig =
            serde_json::from_slice(&fs::read(&file).expect("the file is there")).expect("json");
        assert_eq!(written, config);
        drop(run_dir);
        assert!(!file.exists());
    }
}
