//! How many connections there are, in all and from each address.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Limits;
use super::refusals::Reason;

/// The places for connections.
#[derive(Debug, Default)]
pub(super) struct Slots {
    shared: Arc<Shared>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// All that many are taken.
    Total(usize),
    /// This address has that many, as many as one address may.
    Address(usize),
}

impl Full {
    /// What it is counted as.
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Total(_) => Reason::Sockets,
            Self::Address(_) => Reason::SocketsPerAddress,
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Total(places) => write!(f, "portald has all of its {places} connections in use.")?,
            Self::Address(places) => {
                write!(
                    f,
                    "portald takes {places} connections from one address, and yours has them all in use."
                )?;
            }
        }
        f.write_str(" Close pages that are not needed, then try again.")
    }
}

impl Slots {
    /// Takes a place for `address`, if it is one that counts; it is free again when the slot is dropped.
    pub(super) fn take(&self, address: Option<IpAddr>, limits: &Limits) -> Result<Slot, Full> {
        let mut table = self.shared.lock();
        if table.total >= limits.sockets {
            return Err(Full::Total(limits.sockets));
        }
        if let Some(address) = address {
            count(&mut table.addresses, address, limits.per_address)?;
        }
        table.total += 1;
        self.shared.taken.send_replace(table.total);
        Ok(Slot { shared: self.shared.clone(), held: Held::Connection(address) })
    }

    /// Takes a place among those of `address` for what comes from it through a proxy, whose connection has its own.
    pub(super) fn take_forwarded(&self, address: IpAddr, limits: &Limits) -> Result<Slot, Full> {
        count(&mut self.shared.lock().forwarded, address, limits.per_address)?;
        Ok(Slot { shared: self.shared.clone(), held: Held::Forwarded(address) })
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
    held: Held,
}

#[derive(Debug, Clone, Copy)]
enum Held {
    Connection(Option<IpAddr>),
    Forwarded(IpAddr),
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.shared.lock();
        match self.held {
            Held::Forwarded(address) => discount(&mut table.forwarded, address),
            Held::Connection(address) => {
                if let Some(address) = address {
                    discount(&mut table.addresses, address);
                }
                table.total -= 1;
                self.shared.taken.send_replace(table.total);
            }
        }
    }
}

/// By address; only those that have some, so never more than there are places.
type Counts = HashMap<IpAddr, usize>;

fn count(counts: &mut Counts, address: IpAddr, most: usize) -> Result<(), Full> {
    let taken = counts.get(&address).copied().unwrap_or_default();
    if taken >= most {
        return Err(Full::Address(most));
    }
    counts.insert(address, taken + 1);
    Ok(())
}

fn discount(counts: &mut Counts, address: IpAddr) {
    if let Some(taken) = counts.get_mut(&address) {
        *taken -= 1;
        if *taken == 0 {
            counts.remove(&address);
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
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
    /// Connections.
    addresses: Counts,
    /// WebSockets that come through proxies.
    forwarded: Counts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_address_and_in_all_and_come_back() {
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        let slots = Slots::default();
        let limits = Limits { sockets: 3, per_address: 2, ..Limits::default() };
        let held: Vec<Slot> = [1, 1, 2].map(|n| slots.take(Some(address(n)), &limits).unwrap()).into();
        assert_eq!(slots.take(Some(address(3)), &limits).unwrap_err(), Full::Total(3));
        drop(held);
        assert_eq!(slots.taken(), 0);
        let held: Vec<Slot> = [1, 1].map(|n| slots.take(Some(address(n)), &limits).unwrap()).into();
        assert_eq!(slots.take(Some(address(1)), &limits).unwrap_err(), Full::Address(2));
        assert!(slots.take(Some(address(2)), &limits).is_ok());
        drop(held);
        assert!(slots.shared.lock().addresses.is_empty());
    }

    #[test]
    fn what_comes_through_a_proxy_counts_for_whom_it_speaks() {
        let client = IpAddr::from([10, 0, 0, 1]);
        let slots = Slots::default();
        let limits = Limits { sockets: 3, per_address: 1, ..Limits::default() };
        let _proxy = [slots.take(None, &limits).unwrap(), slots.take(None, &limits).unwrap()];
        let socket = slots.take_forwarded(client, &limits).unwrap();
        assert_eq!(slots.take_forwarded(client, &limits).unwrap_err(), Full::Address(1));
        assert!(slots.take_forwarded(IpAddr::from([10, 0, 0, 2]), &limits).is_ok());
        assert_eq!(slots.taken(), 2);
        drop(socket);
        assert!(slots.shared.lock().forwarded.is_empty());
    }
}
