//! What gRPC is, beside its messages.

use super::reply::{escaped, status};
use super::*;

#[test]
fn a_call_is_one_message() {
    let told = |bytes: &'static [u8]| message(&Bytes::from_static(bytes));
    assert_eq!(told(b"\0\0\0\0\x02hi").unwrap(), "hi");
    assert_eq!(told(b"\0\0\0\0\0").unwrap(), "");
    for (odd, want) in [
        (&b""[..], 3),
        (b"\0\0\0\0", 3),
        (b"\0\0\0\0\x03hi", 3),
        (b"\0\0\0\0\x01hi", 3),
        (b"\0\xff\xff\xff\xffhi", 3),
        (b"\x01\0\0\0\x02hi", 12),
    ] {
        assert_eq!(status(told(odd).unwrap_err().code), want, "{odd:?}");
    }
}

#[test]
fn headers_say_how_long_a_client_waits() {
    let told = |text: &'static str| {
        timeout(&HeaderMap::from_iter([(
            header::HeaderName::from_static("grpc-timeout"),
            HeaderValue::from_static(text),
        )]))
    };
    assert_eq!(told("250m"), Some(Duration::from_millis(250)));
    assert_eq!(
        told("99999999H"),
        Some(Duration::from_secs(3_600) * 99_999_999)
    );
    for odd in ["", "m", "1", "-1S", "1x", "1 S"] {
        assert_eq!(told(odd), None, "{odd}");
    }
}

#[test]
fn kinds_of_calls_and_texts() {
    let is = |kind: &'static str| {
        let kind = HeaderValue::from_static(kind);
        is_call(&HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]))
    };
    assert!(is("application/grpc") && is("application/grpc+proto"));
    assert!(!is("application/grpc-web") && !is("application/json"));
    assert_eq!(escaped("50% of \u{fc}\n"), "50%25 of %C3%BC%0A");
}
