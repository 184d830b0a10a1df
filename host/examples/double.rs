//! The HTTP server before an engine without a model, to try clients: the response is the prompt.
//!
//! `cargo run -p elis-host --example double -- --port 8080 --pace-ms 5`

#[path = "../tests/http/double.rs"]
mod double;

use std::time::Duration;

use clap::Parser;
use elis_host::http::{LogOptions, Server, ServerOptions, on_signals};

use double::{Double, Manner, echo};

#[derive(Debug, Parser)]
struct Cli {
    /// How long each token takes
    #[arg(long, default_value_t = 2)]
    pace_ms: u64,
    #[command(flatten)]
    server: ServerOptions,
    #[command(flatten)]
    log: LogOptions,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    cli.log.install(None)?;
    let pace = Duration::from_millis(cli.pace_ms);
    let paced: Manner = Box::new(move |model, request, events, _| {
        let all = echo(model, &request);
        tokio::spawn(async move {
            for event in all {
                tokio::time::sleep(pace).await;
                if events.send(event).is_err() {
                    break;
                }
            }
        });
        Ok(())
    });
    let server = Server::bind(Double::new(paced, None), cli.server).await?;
    eprintln!("listening on http://{}/v1", server.address());
    server.run(on_signals()?).await?;
    Ok(())
}
