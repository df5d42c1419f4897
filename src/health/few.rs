//! Things by name where there are few of them.

/// Sorted by name, so that what is said of several does not depend on who spoke first. A list, because a look
/// through a short one costs less than the way down a tree.
#[derive(Debug, Clone)]
pub(super) struct Few<K, V>(Vec<(K, V)>);

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord + Clone, V: Default> Few<K, V> {
    pub(super) fn get(&self, name: &K) -> Option<&V> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, name: &K) -> Option<&mut V> {
        self.0.iter_mut().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The one of this name, new if there is none.
    pub(super) fn of(&mut self, name: &K) -> &mut V {
        let place = self.0.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            let place = self.0.partition_point(|(known, _)| known < name);
            self.0.insert(place, (name.clone(), V::default()));
            place
        });
        &mut self.0[place].1
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_in_their_order_whoever_comes_first() {
        let mut few: Few<&str, u32> = Few::default();
        for name in ["west", "east", "west", "north"] {
            *few.of(&name) += 1;
        }
        assert_eq!(few.values().copied().collect::<Vec<_>>(), [1, 1, 2]);
        assert_eq!((few.get(&"west"), few.get(&"south")), (Some(&2), None));
        *few.get_mut(&"north").unwrap() = 7;
        assert_eq!(few.values().copied().collect::<Vec<_>>(), [1, 7, 2]);
    }
}
