"""Constants of the liver finder.

Lengths that follow the patient's size carry ``_scaled_mm`` and are multiplied by the body scale (1 for a torso of
275 mm, the geometric mean of width and depth). Where no paper is named the value was chosen on simulated abdomens
(digital phantoms and label maps of two patients): it separates correct from wrong regions there and has no other
authority.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class FinderParameters:
    """Every threshold of the search for the organ and its parenchyma; the self-checks' limits are in ``checks``."""

    # Working grid and images
    coarsest_native_mm: float = 1.7  # pixels below this are averaged in blocks (in signal power) up to it
    vessel_median_mm: float = 4.2  # radius of the in-plane median; removes vessels up to about 8 mm per echo
    max_echoes: int = 9  # the first six, then every other one: the organ shows in early echoes

    # Torso
    air_noise_factor: float = 5.0  # tissue is above this many noise SD
    air_signal_fraction: float = 0.08  # and above this fraction of the 97th percentile of the early signal
    arm_opening_mm: float = 14.0  # opening radius that cuts arms off the torso
    min_torso_area_mm2: float = 7000.0  # slices with less carry no frame
    torso_width_mm: tuple[float, float] = (150.0, 520.0)  # toddler to severe obesity
    torso_aspect: tuple[float, float] = (0.45, 1.05)  # depth over width; a head or thigh pair falls outside
    reference_size_mm: float = 275.0  # geometric mean of width and depth of an average adult torso
    body_scale: tuple[float, float] = (0.6, 1.2)

    # Wall
    wall_fat_fraction: float = 0.55
    wall_fat_depth_mm: float = 60.0  # subcutaneous fat lies no deeper than this under the skin
    wall_distance_scaled_mm: float = 9.0  # abdominal wall muscle and ribs

    # Homogeneous tissue: change per 4 mm that counts as one edge unit
    edge_log_s1: float = 0.085
    edge_log_r2star: float = 0.15
    edge_fat: float = 0.08
    edge_noise_factor: float = 3.0  # noise SDs by which the edge thresholds grow (Cramer-Rao bound for R2*)
    lean_fat_fraction: float = 0.62  # above this a voxel is adipose tissue, not steatotic liver (40 % at most)
    min_relative_density: float = 0.42  # extrapolated S0 over the body's: lung and gas lie below
    min_first_echo_snr: float = 4.0
    speck_mm2: float = 24.0  # inhomogeneous specks below this are noise

    # Nodes (homogeneous 2-D pieces) and the organ joined from them
    node_depth_mm: float = 3.0
    barrier_mm: float = 9.0  # widest non-fat gap (vessel, fissure) across which pieces are neighbours
    join_log_r2star: float = 0.13  # against the organ's own median, plus noise
    join_dark_log_r2star: float = 0.20  # instead, where R2* exceeds ``dark_r2star_per_s``
    join_log_s0: float = 0.22
    join_fat: float = 0.09
    join_log_s1: float = 0.16  # against a touching member
    slice_overlap: float = 0.15  # of the smaller piece, for pieces in adjacent slices
    prior_right: tuple[float, float, float, float] = (0.04, 0.11, 0.40, 0.54)  # rise and fall, right (0) to left (1)
    prior_front: tuple[float, float, float, float] = (0.06, 0.17, 0.74, 0.86)  # rise and fall, front (0) to back (1)
    min_candidate_r2star_per_s: float = 15.0  # below: fluid, not parenchyma
    min_candidate_mm3: float = 400.0
    min_candidate_share: float = 0.05  # of the largest prior-weighted volume: smaller ones cannot win or rival

    # Refill and thick part
    refill_opening_mm: float = 2.6
    refill_closing_mm: float = 6.0
    refill_hole_mm2: float = 600.0
    organ_opening_scaled_mm: float = 6.0
    dark_r2star_per_s: float = 150.0  # above: R2* alone separates the liver from its neighbours
    thick_fraction: float = 0.5  # opening radius over the slice's inscribed radius; removes leaks into thin organs

    # Parenchyma
    own_border: bool = True  # cut a bright organ where it turns into muscle; not what a person drew
    core_depth_scaled_mm: float = 7.0
    min_core_depth_mm: float = 5.0
    core_prior: float = 0.35
    core_wall_scaled_mm: float = 20.0
    outlier_sd: float = 3.0  # robust SDs beyond which clusters count as structure
    structure_margin_mm: float = 2.6
    structure_edge: float = 2.5
    region_opening_mm: float = 2.2
    min_part_mm2: float = 80.0

    def coarser(self) -> "FinderParameters":
        """The same search with fewer, more strongly smoothed images: for livers hardly above the noise."""
        return replace(self, vessel_median_mm=7.0, max_echoes=6, node_depth_mm=2.0)

    def left_lobe(self) -> "FinderParameters":
        """The same search where a left lobe alone lies: about the middle, at the front."""
        return replace(
            self,
            prior_right=(0.22, 0.32, 0.64, 0.76),
            prior_front=(0.04, 0.10, 0.50, 0.66),
            min_candidate_r2star_per_s=150.0,  # stomach and bowel content, heart and pancreas stay below
        )

    def perturbed(self, edge_factor: float, core_depth_scaled_mm: float) -> "FinderParameters":
        """The same search with looser (> 1) or tighter edges and joins and another depth of the region."""
        return replace(
            self,
            edge_log_s1=self.edge_log_s1 * edge_factor,
            edge_log_r2star=self.edge_log_r2star * edge_factor,
            edge_fat=self.edge_fat * edge_factor,
            core_depth_scaled_mm=core_depth_scaled_mm,
        )


DEFAULTS = FinderParameters()
