//! The language described for editors, from the types that read it.

use super::raw;

/// The JSON Schema of a policy file.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(raw::File).to_value()
}
