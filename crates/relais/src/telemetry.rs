//! Logs and traces.

mod lines;

use std::io::IsTerminal as _;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use self::lines::{Masked, OneLine};
use crate::config::{LogConfig, LogFormat, TelemetryConfig, masked, masked_text};

/// Why logs or traces cannot be set up; names the setting.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TelemetryError(String);

/// Sends what is left of the traces when it is dropped.
pub struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Starts logging to standard error and, if an endpoint is set, sending traces by OTLP over HTTP.
///
/// # Errors
/// [`TelemetryError`] if the filter or the endpoint cannot be understood.
pub fn init(log: &LogConfig, telemetry: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|e| TelemetryError(format!("log.filter: {e}; write for instance \"info,relais=debug\"")))?;
    let text = match log.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let lines = lines(!text, std::io::stderr().is_terminal(), std::io::stderr);
    let provider = telemetry.otlp_endpoint.as_deref().map(exporter).transpose()?;
    let traces = provider.as_ref().map(|p| tracing_opentelemetry::layer().with_tracer(p.tracer("relais")));
    tracing_subscriber::registry().with(filter).with(traces).with(lines).try_init().ok();
    Ok(Telemetry(provider))
}

/// Log lines, for people or as JSON. Text from clients stays within its line.
fn lines<S, W>(json: bool, ansi: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(Masked { lines: writer, json }).with_ansi(ansi);
    if json { lines.json().flatten_event(true).boxed() } else { lines.fmt_fields(OneLine::default()).boxed() }
}

fn exporter(endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter =
        opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(url).build().map_err(|e| {
            let said = e.to_string().replace(endpoint, &masked(endpoint));
            TelemetryError(masked_text(&format!("telemetry.otlp_endpoint: {said}")).into_owned())
        })?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name("relais").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
