//! What was found out about this host at some cost, under a key that names all it depends on.

use rusqlite::{OptionalExtension, params};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Store, StoreError};

impl Store {
    /// A fact, if it is known; one that an older release wrote in another form counts as unknown.
    pub fn fact<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let text: Option<String> = self
            .connection
            .query_row("SELECT value FROM facts WHERE key = ?1", params![key], |row| row.get(0))
            .optional()
            .map_err(|error| self.fail(error))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Keeps a fact in place of an older one.
    pub fn set_fact<T: Serialize>(&self, key: &str, value: &T) -> Result<(), StoreError> {
        let text = serde_json::to_string(value)
            .map_err(|error| self.fail(rusqlite::Error::ToSqlConversionFailure(error.into())))?;
        self.connection
            .execute("INSERT OR REPLACE INTO facts (key, value) VALUES (?1, ?2)", params![key, text])
            .map_err(|error| self.fail(error))?;
        Ok(())
    }

    /// Forgets every fact whose key starts with `prefix`.
    pub fn forget_facts(&self, prefix: &str) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM facts WHERE substr(key, 1, length(?1)) = ?1", params![prefix])
            .map_err(|error| self.fail(error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Durability, Store};

    /// Facts are found under their whole key and forgotten by prefix.
    #[test]
    fn facts_round_trip() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("pyro.db"), Durability::Crash).unwrap();
        store.set_fact("kvm/6.1/7.2", &(true, "ran")).unwrap();
        store.set_fact("vmm/x", &1).unwrap();
        assert_eq!(store.fact::<(bool, String)>("kvm/6.1/7.2").unwrap(), Some((true, "ran".to_owned())));
        assert_eq!(store.fact::<u32>("kvm/6.1/7.2").unwrap(), None);
        store.forget_facts("kvm/").unwrap();
        assert_eq!(store.fact::<(bool, String)>("kvm/6.1/7.2").unwrap(), None);
        assert_eq!(store.fact::<u32>("vmm/x").unwrap(), Some(1));
    }
}
