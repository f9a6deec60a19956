//! The cases' own HTTP client: it goes straight to the servers on this machine.

use std::time::Duration;

/// A client to be built: whatever proxy the environment names, it is not asked.
pub(crate) fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1))
}

/// The status and the text of a page in the clear.
///
/// # Errors
/// When there is no whole answer.
pub(crate) async fn get(url: &str) -> Result<(u16, String), reqwest::Error> {
    let answer = client().tls_certs_only([]).build()?.get(url).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}
