"""The configuration: sections (``sections``, ``tls``, ``web``), and how the file is read (``loading``)."""

from node.config.loading import config_schema, load_config
from node.config.parts import OBJECT_ROLES, AeTitle, ObjectRole, Port, Seconds
from node.config.priors import ArchiveConfig, MoveToConfig, PriorsConfig
from node.config.sections import (
    AllowedPeer,
    AssembleConfig,
    BrokerConfig,
    CalibrationConfig,
    Config,
    DatabaseConfig,
    DestinationConfig,
    FollowUpConfig,
    GradingConfig,
    OrderReason,
    QueueConfig,
    ReceiveConfig,
    ReportConfig,
    SegmenterConfig,
    StorageConfig,
    UncertaintyConfig,
)
from node.config.tls import CallerTls, ListenerTls
from node.config.web import NOTICE_KINDS, EmailConfig, NoticeKind, NotifyConfig, WebConfig, WebhookConfig, WebUser

__all__ = [
    "NOTICE_KINDS",
    "OBJECT_ROLES",
    "AeTitle",
    "AllowedPeer",
    "ArchiveConfig",
    "AssembleConfig",
    "BrokerConfig",
    "CalibrationConfig",
    "CallerTls",
    "Config",
    "DatabaseConfig",
    "DestinationConfig",
    "EmailConfig",
    "FollowUpConfig",
    "GradingConfig",
    "ListenerTls",
    "MoveToConfig",
    "NoticeKind",
    "NotifyConfig",
    "ObjectRole",
    "OrderReason",
    "Port",
    "PriorsConfig",
    "QueueConfig",
    "ReceiveConfig",
    "ReportConfig",
    "Seconds",
    "SegmenterConfig",
    "StorageConfig",
    "UncertaintyConfig",
    "WebConfig",
    "WebUser",
    "WebhookConfig",
    "config_schema",
    "load_config",
]
