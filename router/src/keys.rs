//! Who may use the server: keys, each the key of a tenant.
//!
//! Only hashes of keys are kept, and a key is looked up in a time that does not depend on which key
//! it is or how much of it is right.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{RouterConfig, Secret};

/// Longest name of a tenant, in bytes.
const MAX_TENANT_BYTES: usize = 64;
/// Most keys: the tenants' names become labels of metrics.
const MAX_KEYS: usize = 1000;
/// Name of the tenant whose key has none, and of everybody while no key is set.
const DEFAULT_TENANT: &str = "default";

/// On whose behalf a request comes. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    fn parse(name: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let valid = (1..=MAX_TENANT_BYTES).contains(&name.len()) && name.bytes().all(plain);
        valid.then(|| Self(name.into()))
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self(DEFAULT_TENANT.into())
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key and its tenant, as the operator gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantKey {
    /// Whose key it is.
    pub tenant: Tenant,
    /// The key.
    pub key: Secret,
}

impl TenantKey {
    /// The key of the only tenant.
    ///
    /// # Errors
    /// [`KeyMistake::Unsendable`].
    pub fn of_default_tenant(key: &str) -> Result<Self, KeyMistake> {
        Self::new(Tenant::default(), key)
    }

    fn new(tenant: Tenant, key: &str) -> Result<Self, KeyMistake> {
        let key = Secret::new(key.to_owned());
        if key.is_sendable() {
            Ok(Self { tenant, key })
        } else {
            Err(KeyMistake::Unsendable)
        }
    }

    /// Reads `tenant:key` entries, separated by commas or line ends. Empty entries and lines that
    /// begin with `#` are skipped.
    ///
    /// # Errors
    /// The first mistake, with the number of its line and without any key.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, KeysError> {
        let mut keys = Vec::new();
        let lines = (1..).zip(text.lines());
        for (line, text) in lines.filter(|(_, text)| !text.trim_start().starts_with('#')) {
            for entry in text.split(',').map(str::trim).filter(|e| !e.is_empty()) {
                let key = Self::parse(entry).map_err(|mistake| KeysError::Line(line, mistake))?;
                keys.push(key);
            }
        }
        if keys.len() > MAX_KEYS {
            return Err(KeysError::TooMany(keys.len()));
        }
        Ok(keys)
    }

    fn parse(entry: &str) -> Result<Self, KeyMistake> {
        let (tenant, key) = entry.split_once(':').ok_or(KeyMistake::NoTenant)?;
        let tenant = Tenant::parse(tenant.trim()).ok_or(KeyMistake::BadTenant)?;
        Self::new(tenant, key.trim())
    }
}

/// What is wrong with an entry. Says nothing of its text, which may be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyMistake {
    /// There is no colon.
    #[error("it is not of the form tenant:key")]
    NoTenant,
    /// The name is empty, too long or of other characters.
    #[error(
        "the tenant's name must have 1 to {MAX_TENANT_BYTES} letters, digits, dots, dashes or \
         underscores"
    )]
    BadTenant,
    /// No header can carry it.
    #[error(
        "the key is empty or holds blanks or characters outside ASCII: no client could send it"
    )]
    Unsendable,
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// An entry is wrong.
    #[error("line {0}: {1}")]
    Line(usize, KeyMistake),
    /// More than can be labels.
    #[error("there are {0} keys, the limit is {MAX_KEYS}")]
    TooMany(usize),
    /// The file cannot be read.
    #[error("keys file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file can be read and is wrong.
    #[error("keys file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<KeysError>,
    },
    /// A file was named that lets nobody in.
    #[error("keys file {0} holds no key: add a line tenant:key, or leave out --api-keys-file")]
    Empty(PathBuf),
}

/// The keys that are valid now.
#[derive(Debug)]
pub struct Keys {
    given: Vec<TenantKey>,
    file: Option<PathBuf>,
    ring: RwLock<Arc<Ring>>,
}

type Hash = [u8; 32];

/// Hashes of keys with their tenants.
#[derive(Default)]
struct Ring(Vec<(Hash, Tenant)>);

impl Keys {
    /// Those of the configuration, its file's included.
    ///
    /// # Errors
    /// When the file cannot be read or is wrong.
    pub fn load(config: &RouterConfig) -> Result<Self, KeysError> {
        let keys = Self {
            given: config.api_keys.clone(),
            file: config.api_keys_file.clone(),
            ring: RwLock::default(),
        };
        keys.reload()?;
        Ok(keys)
    }

    /// Reads the file again. An error leaves the keys as they were.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn reload(&self) -> Result<(), KeysError> {
        let mut keys = self.given.clone();
        if let Some(path) = &self.file {
            keys.extend(read(path)?);
        }
        let ring = Arc::new(Ring::new(&keys));
        *self
            .ring
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = ring;
        Ok(())
    }

    /// Reads the file again at every SIGHUP, for ever.
    pub(crate) async fn reload_on_hangup(keys: Arc<Self>) {
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => return tracing::warn!("cannot listen to SIGHUP: {error}"),
        };
        while hangups.recv().await.is_some() {
            match keys.reload() {
                Ok(()) => tracing::info!("read the keys again"),
                Err(error) => tracing::error!("the keys stay as they were: {error}"),
            }
        }
    }

    /// Whether a file can be read again.
    pub(crate) fn have_file(&self) -> bool {
        self.file.is_some()
    }

    /// Whether nobody needs a key.
    #[must_use]
    pub fn are_absent(&self) -> bool {
        self.ring().0.is_empty()
    }

    /// Whose key this is.
    #[must_use]
    pub fn tenant_of(&self, key: &[u8]) -> Option<Tenant> {
        self.ring().tenant_of(key)
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(
            &self
                .ring
                .read()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        )
    }
}

impl Ring {
    fn new(keys: &[TenantKey]) -> Self {
        let hashed = |key: &TenantKey| (hash(key.key.expose().as_bytes()), key.tenant.clone());
        Self(keys.iter().map(hashed).collect())
    }

    /// Compares with every key, whether or not one was found before.
    fn tenant_of(&self, key: &[u8]) -> Option<Tenant> {
        let sent = hash(key);
        let mut found = Choice::from(0);
        let mut at = 0;
        for (index, (hash, _)) in (0_u64..).zip(&self.0) {
            let equal = hash.ct_eq(&sent);
            at.conditional_assign(&index, equal);
            found |= equal;
        }
        let (_, tenant) = self.0.get(usize::try_from(at).ok()?)?;
        bool::from(found).then(|| tenant.clone())
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} keys)", self.0.len())
    }
}

fn hash(key: &[u8]) -> Hash {
    Sha256::digest(key).into()
}

fn read(path: &Path) -> Result<Vec<TenantKey>, KeysError> {
    let unreadable = |source| KeysError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let mode = std::fs::metadata(path)
        .map_err(unreadable)?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        // Not refused: container engines mount secrets like this.
        let path = path.display();
        tracing::warn!(
            "keys file {path} has mode {mode:03o}, so that others can read it: chmod 600"
        );
    }
    let keys = TenantKey::parse_all(&text).map_err(|source| KeysError::File {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    if keys.is_empty() {
        return Err(KeysError::Empty(path.to_owned()));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
