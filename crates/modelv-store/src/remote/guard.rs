//! Whom an address of the web may lead to, where somebody else chose it: each redirect is judged before it is
//! followed, and what is connected to is what was judged. A name may answer differently when it is asked again.
//!
//! Behind a proxy it is the proxy that resolves names, and whoever runs it decides.

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};

use super::object::shown_url;

/// Redirects that are followed one after the other.
const HOPS_MAX: usize = 10;

/// Where a host may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Wherever it is.
    Anywhere,
    /// Where it is reached from everywhere.
    Public,
}

/// Who says what may be asked.
pub trait Guard: Debug + Send + Sync {
    /// How an address may be asked that a server leads to; the other way around: what it is instead.
    ///
    /// # Errors
    /// It may not be asked.
    fn judge(&self, url: &str) -> Result<Reach, String>;

    /// Whether this is reached from everywhere.
    fn is_public(&self, ip: IpAddr) -> bool;
}

/// How the address of an object is asked.
#[derive(Debug, Clone)]
pub struct Way {
    /// Where its own host may be.
    pub first: Reach,
    /// Who is asked about what follows.
    pub guard: Arc<dyn Guard>,
}

/// What was not asked, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

impl Refused {
    fn among(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut at = Some(error);
        while let Some(error) = at {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found.clone());
            }
            at = error.source();
        }
        None
    }
}

/// The hosts on the way to an object. Those that are not among them are proxies, which the user chose.
#[derive(Debug, Clone)]
struct Hosts {
    guard: Arc<dyn Guard>,
    known: Arc<Mutex<HashMap<String, Reach>>>,
}

impl Hosts {
    fn know(&self, url: &reqwest::Url, reach: Reach) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = url.host_str() {
            known.insert(host.to_owned(), reach);
        }
    }

    fn follow(&self, attempt: Attempt<'_>) -> reqwest::redirect::Action {
        if attempt.previous().len() >= HOPS_MAX {
            return attempt.error(Refused("it leads on and on".into()));
        }
        match self.guard.judge(attempt.url().as_str()) {
            Ok(reach) => {
                self.know(attempt.url(), reach);
                attempt.follow()
            }
            Err(why) => {
                let to = shown_url(attempt.url().as_str());
                attempt.error(Refused(format!("it leads to {to}, which is {why}")))
            }
        }
    }

    /// What of the addresses of a host may be connected to.
    fn of(&self, host: &str, found: Vec<IpAddr>) -> Result<Vec<SocketAddr>, Refused> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_bound = known.get(host) == Some(&Reach::Public);
        let may = |ip: &IpAddr| !is_bound || self.guard.is_public(*ip);
        let (left, none) = (found.len(), found.is_empty());
        let addresses = found.into_iter().filter(may);
        let addresses: Vec<SocketAddr> = addresses.map(|ip| SocketAddr::new(ip, 0)).collect();
        // All of them: one that answers both is up to something.
        if none || addresses.len() == left {
            return Ok(addresses);
        }
        Err(Refused(format!(
            "`{host}` leads to an address of this machine or its own network now"
        )))
    }
}

impl Resolve for Hosts {
    fn resolve(&self, name: Name) -> Resolving {
        let hosts = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses = hosts.of(name.as_str(), found.map(|at| at.ip()).collect())?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// A client that goes no further than it may.
#[derive(Debug, Clone)]
pub(super) struct Guarded(reqwest::Client);

impl Guarded {
    /// For what is at `url`.
    pub(super) fn new(url: &str, way: &Way, allows_http: bool) -> Result<Self, reqwest::Error> {
        let hosts = Hosts {
            guard: way.guard.clone(),
            known: Arc::default(),
        };
        if let Ok(url) = reqwest::Url::parse(url) {
            hosts.know(&url, way.first);
        }
        let judge = hosts.clone();
        let client = reqwest::Client::builder()
            .user_agent(concat!("modelv/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::custom(move |attempt| judge.follow(attempt)))
            .dns_resolver(Arc::new(hosts))
            .https_only(!allows_http)
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            // Sizes are of the bytes that are stored.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .build()?;
        Ok(Self(client))
    }
}

impl HttpConnector for Guarded {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for Guarded {
    fn call<'life, 'call>(
        &'life self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'call>>
    where
        'life: 'call,
        Self: 'call,
    {
        Box::pin(async move {
            let answer = HttpService::call(&self.0, request).await;
            // What was refused is not tried again.
            answer.map_err(|e| match Refused::among(&e) {
                Some(refused) => HttpError::new(HttpErrorKind::Unknown, refused),
                None => e,
            })
        })
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
