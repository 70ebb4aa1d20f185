//! What is measured: each figure's name, unit, and which way is better.

use clap::ValueEnum;

/// One column of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    TcpUp1,
    TcpDown1,
    TcpUp4,
    TcpDown4,
    TcpBoth,
    Processor,
    Memory,
    LoadedRtt,
    IdleRtt,
    UdpSmall,
    UdpLarge,
}

/// What is measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Idle round trips
    Rtt,
    /// TCP, and what it costs: processor, memory, round trips under load
    Tcp,
    /// Packets per second
    Udp,
}

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

impl Metric {
    pub(crate) const ALL: [Metric; 11] = [
        Metric::TcpUp1,
        Metric::TcpDown1,
        Metric::TcpUp4,
        Metric::TcpDown4,
        Metric::TcpBoth,
        Metric::Processor,
        Metric::Memory,
        Metric::LoadedRtt,
        Metric::IdleRtt,
        Metric::UdpSmall,
        Metric::UdpLarge,
    ];

    /// The name in the JSON file, with its unit.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Metric::TcpUp1 => "tcp_1_stream_gbit_per_s",
            Metric::TcpDown1 => "tcp_1_stream_reverse_gbit_per_s",
            Metric::TcpUp4 => "tcp_4_streams_gbit_per_s",
            Metric::TcpDown4 => "tcp_4_streams_reverse_gbit_per_s",
            Metric::TcpBoth => "tcp_bidirectional_gbit_per_s",
            Metric::Processor => "processor_s_per_gb",
            Metric::Memory => "memory_mb",
            Metric::LoadedRtt => "rtt_under_load_ms",
            Metric::IdleRtt => "rtt_idle_us",
            Metric::UdpSmall => "udp_64_bytes_kpps",
            Metric::UdpLarge => "udp_1350_bytes_kpps",
        }
    }

    /// The name for readers, and the unit.
    pub(crate) fn title(self) -> (&'static str, &'static str) {
        match self {
            Metric::TcpUp1 => ("TCP, 1 stream", "Gbit/s"),
            Metric::TcpDown1 => ("TCP, 1 stream, reverse", "Gbit/s"),
            Metric::TcpUp4 => ("TCP, 4 streams", "Gbit/s"),
            Metric::TcpDown4 => ("TCP, 4 streams, reverse", "Gbit/s"),
            Metric::TcpBoth => ("TCP, both ways, sum", "Gbit/s"),
            Metric::Processor => ("processor, both daemons", "s/GB"),
            Metric::Memory => ("memory under load", "MB"),
            Metric::LoadedRtt => ("round trip under load", "ms"),
            Metric::IdleRtt => ("round trip, idle", "µs"),
            Metric::UdpSmall => ("UDP, 64 bytes", "kpps"),
            Metric::UdpLarge => ("UDP, 1,350 bytes", "kpps"),
        }
    }

    pub(crate) fn better(self) -> Better {
        match self {
            Metric::Processor | Metric::Memory | Metric::LoadedRtt | Metric::IdleRtt => Better::Lower,
            _ => Better::Higher,
        }
    }

    /// A value with three digits that count, or all of a whole number.
    pub(crate) fn show(value: f64) -> String {
        match value.abs() {
            size if size >= 99.95 => format!("{value:.0}"),
            size if size >= 9.995 => format!("{value:.1}"),
            _ => format!("{value:.2}"),
        }
    }
}
