//! Open files, which every connection is one of: as many as the system lets this process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections that may be open of `wanted` ones: nine tenths of the open files, so that the shard,
/// the log and a tokenizer's files find room beside them. Raises the limit on open files to the
/// highest that is allowed.
#[must_use]
pub fn connection_places(wanted: usize) -> usize {
    let places = most_of(open_files());
    places.map_or(wanted, |places| wanted.min(places))
}

/// Nine tenths of so many, at least 1.
fn most_of(files: Option<u64>) -> Option<usize> {
    let places = files?.saturating_sub(files? / 10).max(1);
    usize::try_from(places).ok()
}

/// The limit on open files once it is raised; `None` is none.
fn open_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        // macOS allows less than it says: what was before still holds.
        Err(_) => current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_open_files_is_left_for_others() {
        assert_eq!(most_of(Some(1024)), Some(922));
        assert_eq!(most_of(Some(1)), Some(1));
        assert_eq!(most_of(None), None);
    }

    #[test]
    fn what_fits_is_taken_and_the_limit_is_raised() {
        assert_eq!(connection_places(1), 1);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        if let Some(places) = most_of(limit.maximum) {
            assert_eq!(connection_places(usize::MAX), places);
        }
    }
}
