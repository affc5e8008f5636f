"""The site's choices, from the configuration to the numerics.

Who starts or watches a node loads this too, so nothing here loads the compiler of the fit.
"""

from node.config import Config
from node.errors import ConfigError
from node.policy import load_policy
from node.report.language import catalogue
from quant.settings import AssessmentSettings
from quant.uncertainty import Repeatability


def settings_of(config: Config) -> AssessmentSettings:
    """The site's choices as the numerics take them.

    Raises:
        ConfigError: the policy file or the page's texts are wrong, or a calibration, grade scheme or indication does
            not exist.
    """
    catalogue(config.report.language, config.report.texts_file)
    follow_up = config.follow_up
    signed_on = None if follow_up.signed_off_on is None else follow_up.signed_off_on.isoformat()
    policy = load_policy(follow_up.policy_file, follow_up.signed_off_by, signed_on)
    try:
        settings = AssessmentSettings(
            calibration_by_field=config.calibration.by_field,
            grade_scheme=config.grading.scheme,
            policy=policy,
            repeatability=Repeatability(
                cov=config.uncertainty.repeatability_cov, floor_per_s=config.uncertainty.repeatability_floor_per_s
            ),
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    known_indication(settings, follow_up.default_indication, "follow_up.default_indication")
    for entry in follow_up.order_reasons:
        known_indication(settings, entry.indication, f"follow_up.order_reasons.{entry.reason}")
    return settings


def known_indication(settings: AssessmentSettings, indication: str | None, key: str) -> None:
    """Raises ConfigError, naming ``key``, unless the policy knows the indication."""
    try:
        settings.policy.indication(indication)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error
