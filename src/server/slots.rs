//! How many connections there are, in all and from each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The places for connections.
#[derive(Debug)]
pub(super) struct Slots {
    shared: Arc<Shared>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// All places are taken.
    Total {
        /// That many.
        places: usize,
        /// Whether this is the first refusal since a place was free.
        first: bool,
    },
    /// This address has as many as one address may.
    Address {
        /// That many.
        places: usize,
        /// Whether this is the address's first refusal since it had a place left.
        first: bool,
    },
}

impl Slots {
    /// With `places` in all and `per_address` for each address.
    pub(super) fn new(places: usize, per_address: usize) -> Self {
        let shared = Shared { places, per_address, table: Mutex::default(), taken: watch::channel(0).0 };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a place for `address`; it is free again when the slot is dropped.
    pub(super) fn take(&self, address: IpAddr) -> Result<Slot, Full> {
        let shared = &self.shared;
        let mut table = shared.lock();
        if table.total >= shared.places {
            let first = !std::mem::replace(&mut table.refusing, true);
            return Err(Full::Total { places: shared.places, first });
        }
        let entry = table.addresses.entry(address).or_default();
        if entry.taken >= shared.per_address {
            let first = !std::mem::replace(&mut entry.refusing, true);
            return Err(Full::Address { places: shared.per_address, first });
        }
        entry.taken += 1;
        table.total += 1;
        shared.taken.send_replace(table.total);
        Ok(Slot { shared: shared.clone(), address })
    }

    /// How many places are taken.
    pub(super) fn taken(&self) -> usize {
        *self.shared.taken.borrow()
    }

    /// Waits until no place is taken.
    pub(super) async fn all_free(&self) {
        // The sender is ours: the channel cannot close.
        let _ = self.shared.taken.subscribe().wait_for(|taken| *taken == 0).await;
    }
}

/// A place taken.
#[derive(Debug)]
pub(super) struct Slot {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.shared.lock();
        if let Some(entry) = table.addresses.get_mut(&self.address) {
            entry.taken -= 1;
            entry.refusing = false;
            if entry.taken == 0 {
                table.addresses.remove(&self.address);
            }
        }
        table.total -= 1;
        table.refusing = false;
        self.shared.taken.send_replace(table.total);
    }
}

#[derive(Debug)]
struct Shared {
    places: usize,
    per_address: usize,
    table: Mutex<Table>,
    taken: watch::Sender<usize>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Table {
    total: usize,
    refusing: bool,
    /// Only addresses that hold a place, so never more than there are places.
    addresses: HashMap<IpAddr, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    taken: usize,
    refusing: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_address_and_in_all_and_come_back() {
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        let slots = Slots::new(3, 2);
        let held: Vec<Slot> = [1, 1, 2].map(|n| slots.take(address(n)).unwrap()).into();
        assert!(matches!(slots.take(address(3)), Err(Full::Total { places: 3, first: true })));
        assert!(matches!(slots.take(address(3)), Err(Full::Total { first: false, .. })));
        drop(held);
        assert_eq!(slots.taken(), 0);
        let held: Vec<Slot> = [1, 1].map(|n| slots.take(address(n)).unwrap()).into();
        assert!(matches!(slots.take(address(1)), Err(Full::Address { places: 2, first: true })));
        assert!(matches!(slots.take(address(1)), Err(Full::Address { first: false, .. })));
        assert!(slots.take(address(2)).is_ok());
        drop(held);
        assert!(slots.shared.lock().addresses.is_empty());
    }
}
