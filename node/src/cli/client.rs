//! `meshnode client`: stock WireGuard devices attached to this node.

use clap::{Args, Subcommand};
use meshnode_crypto::Name;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use zeroize::Zeroizing;

use crate::api::types::{ClientAddRequest, ClientConfig, ClientRemoved, Clients};
use crate::config::value;
use crate::output::Failure;

use super::context::Context;
use super::status::clients_table;
use super::watch::View;

/// Options of `client`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Attach a device: prints a wg-quick configuration on stdout and its QR code on stderr
    Add {
        /// What to call the device
        #[arg(value_name = "NAME", value_parser = value::name)]
        name: Name,
    },
    /// Print a device's configuration again, with the prefixes of now
    Show {
        /// The device
        #[arg(value_name = "NAME", value_parser = value::name)]
        name: Name,
    },
    /// Show the attached devices
    List {
        #[command(flatten)]
        view: View,
    },
    /// Detach a device, at once
    Remove {
        /// The device
        #[arg(value_name = "NAME", value_parser = value::name)]
        name: Name,
    },
}

impl Options {
    pub fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        match &self.action {
            Action::Add { name } => add(context, name),
            Action::Show { name } => show(context, name),
            Action::List { view } => {
                view.show(context, "/v1/clients", |answer: &Clients, style| {
                    match answer.clients.is_empty() {
                        true => "No device is attached: `meshnode client add NAME` attaches one.".to_owned(),
                        false => clients_table(&answer.clients, style),
                    }
                })
            }
            Action::Remove { name } => remove(context, name),
        }
    }
}

fn add(context: &Context<'_>, name: &Name) -> Result<(), Failure> {
    let node = context.node()?;
    let request = ClientAddRequest {
        name: name.to_string(),
    };
    print(
        context,
        context.block_on(async { Ok(node.post("/v1/clients", &request).await?) })?,
    )
}

fn show(context: &Context<'_>, name: &Name) -> Result<(), Failure> {
    let node = context.node()?;
    let path = format!("/v1/clients/{name}/config");
    print(context, context.block_on(async { Ok(node.get(&path).await?) })?)
}

fn remove(context: &Context<'_>, name: &Name) -> Result<(), Failure> {
    let node = context.node()?;
    let path = format!("/v1/clients/{name}");
    let answer: ClientRemoved = context.block_on(async { Ok(node.delete(&path).await?) })?;
    context
        .console
        .print(format_args!("{} is detached.", answer.name))
}

/// The configuration on stdout, so that it can go into a file; the code for cameras beside it.
fn print(context: &Context<'_>, answer: ClientConfig) -> Result<(), Failure> {
    let config = Zeroizing::new(answer.config);
    context.console.print(config.trim_end())?;
    match qr_code(&config) {
        Ok(code) => {
            let code = Zeroizing::new(context.console.light_on_dark(&code));
            context.console.hint(format_args!(
                "\n{}\nScan it with the WireGuard app of {}.",
                *code, answer.name
            ));
        }
        Err(why) => context.console.warn(format_args!("no QR code: {why}")),
    }
    Ok(())
}

/// Two modules a character, with the quiet zone; what is drawn is light, what is blank is dark.
fn qr_code(text: &str) -> Result<Zeroizing<String>, String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)
        .map_err(|error| format!("the configuration does not fit into one ({error})"))?;
    Ok(Zeroizing::new(
        code.render::<Dense1x2>()
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark)
            .quiet_zone(true)
            .build(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_fits_into_a_code_of_an_ordinary_screen() {
        let code = qr_code(&"AllowedIPs = 172.18.0.0/16\n".repeat(12)).unwrap();
        assert!(code.lines().count() < 50);
        assert!(code.contains('█'));
    }

    #[test]
    fn what_fits_into_no_code_says_so() {
        assert!(qr_code(&"x".repeat(4000)).is_err());
    }
}
