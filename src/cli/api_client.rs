//! A client of the gateway's HTTP API, for the commands that ask a running
//! gateway.
//!
//! One connection, one request after another, over TLS where the URL says `https`. The
//! key goes into `Authorization` and nowhere else.

use super::{DATA, Failure, NO_PERMISSION, SOFTWARE, TRY_AGAIN, UNAVAILABLE, USAGE};
use crate::deliver::tls::machine_roots;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

/// Which gateway is asked, and how its answers are shown.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The gateway's API [default: $POSTGATE_API, http://127.0.0.1:8025]
    #[arg(long, value_name = "URL", global = true)]
    api: Option<String>,
    /// Key for it [default: $POSTGATE_KEY]
    #[arg(long, value_name = "KEY", global = true)]
    key: Option<Key>,
    /// Of all tenants, whose the key of an admin sees, this one
    #[arg(long, value_name = "NAME", global = true)]
    tenant: Option<String>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,
}

/// A key, which never shows itself.
#[derive(Clone)]
struct Key(String);

impl FromStr for Key {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Key, Self::Err> {
        Ok(Key(text.to_owned()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Where a gateway without a configuration is asked.
const USUAL: &str = "http://127.0.0.1:8025";

/// Longest wait for a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most octets of an answer that are read.
const LARGEST: usize = 64 * 1024 * 1024;

/// What stays as it is in a piece of a path (RFC 3986 section 3.3).
const PIECE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Text as one piece of a path, or as the value of a parameter.
pub(super) fn piece(text: &str) -> String {
    utf8_percent_encode(text, PIECE).to_string()
}

/// What is sent with a request.
enum Body<'a> {
    None,
    Json(&'a Value),
    Toml(String),
}

/// A connection to the gateway.
pub(super) struct Client {
    url: Url,
    authorization: Option<HeaderValue>,
    tenant: Option<HeaderValue>,
    sender: SendRequest<Full<Bytes>>,
}

impl Place {
    /// Connects; a failure says what to do.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        let said = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let text = self.api.clone().or_else(|| said("POSTGATE_API")).unwrap_or_else(|| USUAL.to_owned());
        let url = url(&text)?;
        let key = self.key.as_ref().map(|key| key.0.clone()).or_else(|| said("POSTGATE_KEY"));
        let authorization = key.as_deref().map(bearer).transpose()?;
        let wrong = |_| Failure::new(USAGE, "--tenant: a name has no control characters");
        let tenant = self.tenant.as_deref().map(|name| HeaderValue::from_bytes(name.as_bytes()));
        let tenant = tenant.transpose().map_err(wrong)?;
        let unreachable = |reason: String| {
            let remedy =
                "start it with `postgate`, or say with --api or $POSTGATE_API where its [api] listens";
            Failure::new(UNAVAILABLE, format_args!("no gateway answers at {url}: {reason}; {remedy}"))
        };
        let addresses = url.socket_addrs(|| None).map_err(|error| unreachable(error.to_string()))?;
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(addresses.as_slice())).await;
        let stream = match connected {
            Ok(stream) => stream.map_err(|error| unreachable(error.to_string()))?,
            Err(_) => return Err(unreachable("it takes too long".to_owned())),
        };
        let begun = tokio::time::timeout(PATIENCE, begin(stream, &url)).await;
        let begun = begun.unwrap_or_else(|_| Err("it takes too long".to_owned()));
        let sender = begun.map_err(unreachable)?;
        Ok(Client { url, authorization, tenant, sender })
    }
}

/// Begins to speak HTTP, over TLS if the URL says so.
async fn begin(stream: TcpStream, url: &Url) -> Result<SendRequest<Full<Bytes>>, String> {
    if url.scheme() != "https" {
        return speak(stream).await;
    }
    let roots = tokio::task::spawn_blocking(machine_roots).await.map_err(|died| died.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots);
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let shaken = TlsConnector::from(Arc::new(config.with_no_client_auth())).connect(name, stream).await;
    let remedy = "a file with the authority of its certificate is named by $SSL_CERT_FILE";
    speak(shaken.map_err(|error| format!("{error}; {remedy}"))?).await
}

async fn speak<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Its end is noticed by whoever waits for an answer.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn url(text: &str) -> Result<Url, Failure> {
    let wrong = || Failure::new(USAGE, "--api: write a URL such as http://127.0.0.1:8025");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let is_origin = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.path() == "/"
        && url.query().is_none();
    // A key in the URL would be shown with it.
    let is_open = url.username().is_empty() && url.password().is_none();
    if is_origin && is_open { Ok(url) } else { Err(wrong()) }
}

/// Marked so that no debug output shows it.
fn bearer(key: &str) -> Result<HeaderValue, Failure> {
    let wrong = |_| Failure::new(USAGE, "--key: a key has no blanks and control characters");
    let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(wrong)?;
    value.set_sensitive(true);
    Ok(value)
}

impl Client {
    /// What stands at a path below `/api/v1`.
    pub(super) async fn get(&mut self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None).await
    }

    /// Does something at a path below `/api/v1`.
    pub(super) async fn post(&mut self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.ask(Method::POST, path, body).await
    }

    /// Changes what stands at a path below `/api/v1`.
    pub(super) async fn patch(&mut self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    /// Deletes what stands at a path below `/api/v1`.
    pub(super) async fn delete(&mut self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::DELETE, path, None).await
    }

    /// A text that stands at a path below `/api/v1`.
    pub(super) async fn text(&mut self, path: &str) -> Result<String, Failure> {
        let request = self.request(Method::GET, path, Body::None)?;
        let (status, octets) = self.exchange(request).await?;
        if status.is_success() {
            return Ok(String::from_utf8_lossy(&octets).into_owned());
        }
        self.read(status, &octets).map(|value| value.to_string())
    }

    /// Sends a configuration to a path below `/api/v1`.
    pub(super) async fn send_toml(
        &mut self,
        method: Method,
        path: &str,
        text: String,
    ) -> Result<Value, Failure> {
        let request = self.request(method, path, Body::Toml(text))?;
        let (status, octets) = self.exchange(request).await?;
        self.read(status, &octets)
    }

    async fn ask(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let request = self.request(method, path, body.map_or(Body::None, Body::Json))?;
        let (status, octets) = self.exchange(request).await?;
        self.read(status, &octets)
    }

    /// What an answer says, or why it was refused.
    fn read(&self, status: StatusCode, octets: &[u8]) -> Result<Value, Failure> {
        let octets = if status == StatusCode::NO_CONTENT { b"null" } else { octets };
        match serde_json::from_slice::<Value>(octets) {
            Ok(value) if status.is_success() => Ok(value),
            Ok(problem) => Err(refused(status, &problem)),
            Err(_) => Err(Failure::new(UNAVAILABLE, format_args!("{} is no Postgate: {status}", self.url))),
        }
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Failure> {
        let broken =
            |reason: String| Failure::new(UNAVAILABLE, format_args!("the gateway did not answer: {reason}"));
        let answered = async {
            self.sender.ready().await.map_err(|error| error.to_string())?;
            let response = self.sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST).collect().await;
            Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        let answer = tokio::time::timeout(PATIENCE, answered).await;
        answer.unwrap_or_else(|_| Err("it takes too long".to_owned())).map_err(broken)
    }

    fn request(&self, method: Method, path: &str, body: Body<'_>) -> Result<Request<Full<Bytes>>, Failure> {
        let inside = |error: http::Error| Failure::new(SOFTWARE, error);
        let host = self.url.authority();
        let mut request =
            Request::builder().method(method).uri(format!("/api/v1{path}")).header(header::HOST, host);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("x-tenant-id", tenant);
        }
        let (kind, text) = match body {
            Body::None => return request.body(Full::default()).map_err(inside),
            Body::Json(value) => ("application/json", value.to_string()),
            Body::Toml(text) => ("application/toml", text),
        };
        request.header(header::CONTENT_TYPE, kind).body(Full::from(text)).map_err(inside)
    }
}

fn refused(status: StatusCode, problem: &Value) -> Failure {
    let code = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => NO_PERMISSION,
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::INSUFFICIENT_STORAGE => TRY_AGAIN,
        status if status.is_server_error() => SOFTWARE,
        _ => DATA,
    };
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("no reason was given");
    let lines = detail.lines().map(super::table::plain).collect::<Vec<_>>();
    Failure::new(code, lines.join("\n"))
}
