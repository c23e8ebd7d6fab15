//! Models that the server runs itself.

use modelv_onnx::{Error, Model};

/// An ONNX model is read or refused; what it names is not there.
pub(crate) fn onnx(data: &[u8]) {
    let mut other = |path: &str| {
        Err(Error::Read {
            path: path.to_owned(),
            detail: "there is none".into(),
        })
    };
    if let Ok(model) = Model::read(data.to_vec(), &mut other) {
        assert!(!model.outputs().is_empty());
    }
}
