//! Doors to private decoders for `modelv-fuzz`; nothing else may use this.

use crate::grpc;

/// The inputs of a call for predictions, as JSON, by their names.
///
/// # Errors
/// It is no call, or has no inputs that a function could take.
pub fn call(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    grpc::inputs_of(&axum::body::Bytes::copy_from_slice(bytes))
}
