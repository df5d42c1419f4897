//! What the executor wrote down of refreshes.

use std::path::Path;

use leeward::balancer::cure::Purpose;
use leeward::journal::Journal;
use leeward::memory::{CureNote, Entry};

/// Balancer and purpose of each cure that was begun for service `shop`, in order.
pub(crate) fn begun(state: &Path) -> Vec<(String, Purpose)> {
    let journal = Journal::read(&state.join("shop.journal")).unwrap();
    let begun = journal.into_iter().filter_map(|record| {
        let Entry::Cure { balancer, note: CureNote::Intended(cure) } = record.entry else {
            return None;
        };
        Some((balancer.to_string(), cure.purpose))
    });
    begun.collect()
}
