//! Stored responses: what `/v1/responses` keeps so that a later request can fetch or continue them.
//!
//! One value owns them all. It holds so many of so many bytes, and no more: the oldest makes room. A
//! response belongs to a tenant, whose name is part of its key, so that no other tenant finds it.
//! Nothing here outlives the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::config::Limits;
use crate::metrics;

/// What an entry costs beside its texts, in bytes: keys, both maps' slots, allocations.
const ENTRY_BYTES: usize = 512;

/// A response and the conversation that it ended. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The response, as JSON.
    pub response: Bytes,
    /// The items of the conversation, the response's own at its end, as JSON.
    pub items: Bytes,
}

impl Stored {
    fn bytes(&self) -> usize {
        self.response.len() + self.items.len() + ENTRY_BYTES
    }
}

/// Which bound made a response go or kept it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Count,
    Bytes,
}

impl Bound {
    /// Its name in the metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Count => "stored_responses",
            Self::Bytes => "stored_response_bytes",
        }
    }
}

/// The owner of all stored responses.
#[derive(Debug)]
pub struct ResponseStore {
    most: usize,
    most_bytes: usize,
    entries: Mutex<Entries>,
}

/// Tenant and id.
type Key = (Box<str>, Box<str>);

#[derive(Debug, Default)]
struct Entries {
    /// Each with its number in the order of arrival.
    by_key: HashMap<Key, (u64, Stored)>,
    by_age: BTreeMap<u64, Key>,
    bytes: usize,
    arrivals: u64,
}

impl ResponseStore {
    /// An empty store within the bounds of `limits`.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            most: limits.max_stored_responses,
            most_bytes: limits.max_stored_response_bytes,
            entries: Mutex::default(),
        }
    }

    /// Whether it keeps anything at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.most > 0
    }

    /// Keeps a response of `tenant`. One that is larger than the whole store is not kept.
    pub fn put(&self, tenant: &str, id: &str, stored: Stored) {
        if !self.is_on() {
            return;
        }
        if stored.bytes() > self.most_bytes {
            metrics::response_dropped(Bound::Bytes);
            return;
        }
        let mut entries = self.entries();
        entries.insert(key(tenant, id), stored);
        while let Some(bound) = self.exceeded(&entries) {
            entries.remove_oldest();
            metrics::response_dropped(bound);
        }
        entries.report();
    }

    /// A response of `tenant`.
    #[must_use]
    pub fn get(&self, tenant: &str, id: &str) -> Option<Stored> {
        let entries = self.entries();
        let (_, stored) = entries.by_key.get(&key(tenant, id))?;
        Some(stored.clone())
    }

    /// Forgets a response of `tenant`; says whether there was one.
    pub fn delete(&self, tenant: &str, id: &str) -> bool {
        let mut entries = self.entries();
        let is_found = entries.remove(&key(tenant, id));
        entries.report();
        is_found
    }

    fn exceeded(&self, entries: &Entries) -> Option<Bound> {
        if entries.by_key.len() > self.most {
            Some(Bound::Count)
        } else if entries.bytes > self.most_bytes {
            Some(Bound::Bytes)
        } else {
            None
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn insert(&mut self, key: Key, stored: Stored) {
        self.remove(&key);
        self.bytes += stored.bytes();
        self.by_age.insert(self.arrivals, key.clone());
        self.by_key.insert(key, (self.arrivals, stored));
        self.arrivals += 1;
    }

    fn remove(&mut self, key: &Key) -> bool {
        let Some((age, stored)) = self.by_key.remove(key) else {
            return false;
        };
        self.by_age.remove(&age);
        self.bytes -= stored.bytes();
        true
    }

    fn remove_oldest(&mut self) {
        if let Some((_, key)) = self.by_age.pop_first() {
            self.remove(&key);
        }
    }

    fn report(&self) {
        metrics::stored_responses(self.by_key.len(), self.bytes);
    }
}

fn key(tenant: &str, id: &str) -> Key {
    (tenant.into(), id.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(most: usize, most_bytes: usize) -> ResponseStore {
        ResponseStore::new(&Limits {
            max_stored_responses: most,
            max_stored_response_bytes: most_bytes,
            ..Limits::default()
        })
    }

    fn stored(text: &'static str) -> Stored {
        Stored {
            response: Bytes::from_static(text.as_bytes()),
            items: Bytes::new(),
        }
    }

    fn held<'a>(store: &ResponseStore, ids: &[&'a str]) -> Vec<&'a str> {
        let is_held = |id: &&&str| store.get("t", id).is_some();
        ids.iter().filter(is_held).copied().collect()
    }

    #[test]
    fn what_is_put_is_found_until_it_is_deleted() {
        let store = store(10, 10_000);
        store.put("t", "a", stored("one"));
        assert_eq!(store.get("t", "a"), Some(stored("one")));
        assert!(store.delete("t", "a"));
        assert!(!store.delete("t", "a"));
        assert_eq!(store.get("t", "a"), None);
        assert_eq!(store.entries().bytes, 0);
        assert!(store.entries().by_age.is_empty());
    }

    #[test]
    fn a_tenant_neither_reads_nor_deletes_what_is_anothers() {
        let store = store(10, 10_000);
        store.put("t", "a", stored("one"));
        assert_eq!(store.get("u", "a"), None);
        assert!(!store.delete("u", "a"));
        store.put("u", "a", stored("two"));
        assert_eq!(store.get("t", "a"), Some(stored("one")));
    }

    #[test]
    fn the_oldest_makes_room_for_one_beyond_the_count() {
        let store = store(2, 10_000);
        for id in ["a", "b"] {
            store.put("t", id, stored("x"));
        }
        assert_eq!(held(&store, &["a", "b"]), ["a", "b"]);
        store.put("t", "c", stored("x"));
        assert_eq!(held(&store, &["a", "b", "c"]), ["b", "c"]);
    }

    #[test]
    fn the_oldest_make_room_for_bytes_beyond_the_bound() {
        let each = ENTRY_BYTES + 4;
        let store = store(10, 3 * each);
        for id in ["a", "b", "c"] {
            store.put("t", id, stored("1234"));
        }
        assert_eq!(held(&store, &["a", "b", "c"]), ["a", "b", "c"]);
        store.put("t", "d", stored("12345"));
        assert_eq!(held(&store, &["a", "b", "c", "d"]), ["c", "d"]);
        assert_eq!(store.entries().bytes, 2 * each + 1);
    }

    #[test]
    fn what_is_larger_than_the_store_pushes_nothing_out() {
        let store = store(10, ENTRY_BYTES + 4);
        store.put("t", "a", stored("1234"));
        store.put("t", "b", stored("12345"));
        assert_eq!(held(&store, &["a", "b"]), ["a"]);
    }

    #[test]
    fn a_store_of_none_keeps_nothing() {
        let store = store(0, 10_000);
        store.put("t", "a", stored("x"));
        assert!(!store.is_on());
        assert_eq!(held(&store, &["a"]), [""; 0]);
    }
}
