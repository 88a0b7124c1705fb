//! The run directory: sockets and configuration of one server, for its user's eyes only.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use text_generation_router::config::ServeConfig;

use crate::error::LaunchError;

/// A fresh folder of mode 0700, removed on drop.
#[derive(Debug)]
pub struct RunDir(TempDir);

impl RunDir {
    /// Makes the folder in the system's folder for temporary files.
    ///
    /// # Errors
    /// [`LaunchError::RunDir`].
    pub fn create() -> Result<Self, LaunchError> {
        tempfile::Builder::new()
            .prefix("text-generation-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map(Self)
            .map_err(LaunchError::RunDir)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
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
    use clap::Parser;

    use super::*;
    use crate::args::Args;
    use crate::resolve::resolve;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path)
            .expect("the path exists")
            .permissions()
            .mode()
            & 0o777
    }

    #[test]
    fn only_its_user_can_read_it_and_nothing_stays() {
        let run_dir = RunDir::create().expect("temporary folders work");
        let args = Args::try_parse_from(["launcher"]).expect("no flag is needed");
        let config = resolve(args, run_dir.path()).expect("the defaults are right");
        let file = run_dir.write_config(&config).expect("the folder is ours");
        assert_eq!((mode(run_dir.path()), mode(&file)), (0o700, 0o600));
        let written: ServeConfig =
            serde_json::from_slice(&fs::read(&file).expect("the file is there")).expect("json");
        assert_eq!(written, config);
        drop(run_dir);
        assert!(!file.exists());
    }
}
