"""One run of the sparse alignment: placed, banded, solved, and told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_stomics.core.inputs import LandmarkPairs, SpotPair
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.plans import AlignmentState, TransportPlan
from napari_stomics.methods.alignment.band import Band
from napari_stomics.methods.alignment.overlap import (
    Marginals,
    Masses,
    ask_for,
    find_overlap,
)
from napari_stomics.methods.alignment.placing import (
    Frame,
    Placement,
    Wishes,
    bent,
    pinned,
    pins_of,
    place,
    placement_of,
    snapped,
)
from napari_stomics.methods.alignment.proximal import (
    ProximalOptions,
    Scaling,
    Solution,
    Watch,
    solve_proximal,
)
from napari_stomics.methods.alignment.result import Account, barycentres, make_plan, rigid_of
from napari_stomics.methods.alignment.rules import Pins, Rules
from napari_stomics.methods.alignment.structure import (
    FusedProblem,
    LowRankDistances,
    common_distances,
    local_problem,
)

if TYPE_CHECKING:
    from napari_stomics.methods.alignment.fgw import FGWParams

Floats = NDArray[np.floating[Any]]

_ROUNDS = 4  # times that the band follows the pose at most
_LARGE = 40_000  # spots beyond which distances are compared around each spot's place
_ELSEWHERE = 4.0  # pitches: landmarks that lie so far off put a former plan aside
_WHOLE = 0.93  # shares of overlap above which the outlines hold the sections in place
_MOVED = 0.3  # pitches that a spot may move before the band follows
_START_RANGE = 0.05  # cost per squared pitch of the first coupling
_START_BLUR = 0.1  # and its entropic smoothing
_START_SCALING = 15
_INNER = {False: 10, True: 200}  # scaling steps within each, at relaxed and at exact marginals
_ROUGH = 4.0  # times the tolerance: enough for a plan that the exact solver goes on from
_REVIVED = 1e-2  # of a former plan is spread again, so that it can change


@dataclass(frozen=True, eq=False)
class Answer:
    """A coupling and where it was sought.

    Attributes
    ----------
    placement
        Pose and bend, as the coupling has moved them.
    placed
        (n, 2) source spots in the target's frame when the band was laid.
    masses
        What was asked of the spots.
    solution
        The coupling.
    scale
        Mass of the plan over that of the coupling.
    """

    placement: Placement
    placed: Floats
    masses: Masses
    solution: Solution
    scale: float = 1.0

    @property
    def coupling(self) -> Solution:
        """The coupling at its true mass; objective and marginal errors stay those of mass one."""
        return replace(self.solution, values=self.solution.values * self.scale)


class Run:
    """State of one alignment.

    Parameters
    ----------
    pair
        The two sections.
    frame
        The same in units of pitch, with their features.
    params
        Parameters of the method.
    ctx
        Progress, states, cancelling and finishing.
    """

    def __init__(self, pair: SpotPair, frame: Frame, params: FGWParams, ctx: JobContext) -> None:
        self.pair, self.frame, self.params, self.ctx = pair, frame, params, ctx
        self.rules = Rules(pair.constraints, len(frame.source), len(frame.target))
        self.pins: Pins | None = None
        self.large = max(len(frame.source), len(frame.target)) > _LARGE
        self.exact = params.solver == "exact"
        self.shape = len(frame.source), len(frame.target)
        self.done = 0

    def run(
        self,
        landmarks: LandmarkPairs | None,
        judges: LandmarkPairs | None,
        wishes: Wishes,
    ) -> TransportPlan:
        """Align.

        Parameters
        ----------
        landmarks
            Landmarks to start from and, where the prior says so, to hold on to.
        judges
            Landmarks that are left out.
        wishes
            How to start.
        """
        pins = None
        if wishes.prior == "pinned" and landmarks is not None:
            pins = pins_of(self.frame, landmarks)
        former = self._former(landmarks)
        if former is not None:
            self.pins = pins
            answer = self._follow(self._pulled(former))
        else:
            ctx = self.ctx.part(0.2, 0.4)
            placement = place(self.frame, self.pair, landmarks, wishes, ctx, self._show)
            answer = self._sought(placement)
            if pins is not None:  # which had to wait until the pose was found
                self.pins = pins
                answer = self._solved(self._pulled(answer.placement), answer.solution)
        if self.exact or self.params.marginals == "balanced":
            answer = self._strict(answer)
        return self._told(answer, judges)

    def _pulled(self, placement: Placement) -> Placement:
        """The placement bent onto the pins, where there are any and bending is allowed."""
        if self.pins is None or not self.params.bend:
            return placement
        return pinned(self.frame, placement, self.pins) or placement

    def _former(self, landmarks: LandmarkPairs | None) -> Placement | None:
        """Where a former plan laid the source; None where it cannot be gone on from."""
        start, frame = self.pair.start, self.frame
        if start is None or start.registration is None:
            return None
        self.ctx.step(0.2, "Going on from the former plan")
        former = replace(placement_of(start.registration.transform, frame), margin=start.margin)
        if landmarks is not None and len(landmarks.names) > 1:
            pins = pins_of(frame, landmarks)
            error = np.linalg.norm(former.apply(pins.source) - pins.target, axis=1)
            if np.median(error) > _ELSEWHERE:  # the user moves the whole section
                self.pair = replace(self.pair, start=None)
                return None
        return former if self.params.bend else replace(former, bend=None)

    def _follow(self, placement: Placement) -> Answer:
        """Couple the placed sections; where nothing is bent, the pose follows the plan."""
        frame = self.frame
        answer = self._solved(placement, None)
        for _ in range(_ROUNDS - 1):
            solution = answer.solution
            if placement.bend is not None or not solution.values.sum() > 0:
                break
            pose = rigid_of(solution, frame, placement.pose)
            after = replace(placement, pose=pose)
            moved = np.linalg.norm(after.apply(frame.source) - answer.placed, axis=1)
            placement = after
            answer = replace(answer, placement=after)
            if moved.max() <= _MOVED or self.ctx.finishing:
                break
            answer = self._solved(after, solution)
        return answer

    def _sought(self, placement: Placement) -> Answer:
        """Couple the sections, the source bent where its features ask for that."""
        if placement.bend is not None:
            return self._solved(placement, None)
        overlap = find_overlap(placement.apply(self.frame.source), self.frame.target)
        cropped = min(overlap.shares) <= _WHOLE and self.frame.features.searchable
        if cropped:
            placement = snapped(self.frame, placement, overlap)
        other = self._bent(placement)
        if other is not None or cropped:
            # A relaxed plan leaks over cut edges and would draw the pose after it.
            return self._solved(other or placement, None)
        return self._follow(placement)

    def _bent(self, placement: Placement) -> Placement | None:
        """The placement with a bend to be tried; None where there is none."""
        if self.ctx.finishing or not self.params.bend:
            return None
        other = bent(self.frame, placement, self.ctx.part(0.6, 0.65))
        if other is not None:
            self._show("bend", other.apply(self.frame.source))
        return other

    def _told(self, answer: Answer, judges: LandmarkPairs | None) -> TransportPlan:
        params, frame = self.params, self.frame
        overlap = find_overlap(answer.placement.apply(frame.source), frame.target)
        marginals = params.marginals
        if self.exact and marginals == "unbalanced":
            marginals = "balanced"
        account = Account(params.alpha, marginals, params.solver, overlap.shares, judges)
        return make_plan(
            self.pair, frame, answer.placement, answer.coupling, answer.masses, account
        )

    # Solving -------------------------------------------------------------------------------

    def _solved(self, placement: Placement, former: Solution | None) -> Answer:
        """Couple the sections as they are placed, with relaxed marginals."""
        placed = placement.apply(self.frame.source)
        masses = self._masses(placed, self._relaxed(placed))
        whole = masses.whole()
        problem = self._problem(placement, placed, whole)
        start = self._start(problem, placed, whole, former)
        solution = self._proximal(problem, start, placed, 1.0, self.params.relaxation)
        return Answer(placement, placed, masses, solution, masses.mass)

    def _relaxed(self, placed: Floats) -> Marginals:
        """How marginals are relaxed: over cut edges, unbalanced ones would leak."""
        shares = find_overlap(placed, self.frame.target).shares
        if self.params.marginals == "partial" or min(shares) <= _WHOLE:
            return "partial"
        return "unbalanced"

    def _masses(self, placed: Floats, marginals: Marginals) -> Masses:
        return ask_for(find_overlap(placed, self.frame.target), marginals, self.rules.banned)

    def _proximal(
        self, problem: FusedProblem, start: Floats, placed: Floats, mass: float, tau: float
    ) -> Solution:
        params = self.params
        inner = _INNER[np.isinf(tau)]
        tolerance = params.tolerance * (_ROUGH if self.exact else 1.0)
        options = ProximalOptions(tau, mass, params.epsilon, params.iterations, tolerance, inner)
        return solve_proximal(
            problem, start, options, self.ctx.part(0.5, 1.0), self._watch(placed), params.device
        )

    def _strict(self, answer: Answer) -> Answer:
        """The answer at exact marginals."""
        if self.ctx.finishing:
            return answer
        placement, former = answer.placement, answer.solution
        placed = placement.apply(self.frame.source)
        asked: Marginals = "partial" if self.params.marginals == "partial" else "balanced"
        masses = self._masses(placed, asked)
        problem = self._problem(placement, placed, masses)
        start = problem.band.values_from(former.band, former.values)
        if not self.exact:
            solution = self._proximal(problem, start, placed, float(masses.p.sum()), np.inf)
            return Answer(placement, placed, masses, solution)
        from napari_stomics.methods.alignment.exact_mode import PlacedCosts, solve_placed

        matrix = placement.pose.matrix
        solution = solve_placed(
            problem,
            PlacedCosts(self.frame, self.rules, self.pins, matrix),
            masses,
            start,
            marginals=asked,
            points=(placed, self.frame.target) if self.params.structure == "euclidean" else None,
            iterations=self.params.iterations,
            tolerance=1e-3 * self.params.tolerance,
            ctx=self.ctx.part(0.6, 1.0),
            watch=self._watch(placed),
        )
        return Answer(placement, placed, masses, solution)

    def _problem(self, placement: Placement, placed: Floats, masses: Masses) -> FusedProblem:
        """The band around where the source lies, and what it costs."""
        frame, params = self.frame, self.params
        near = params.neighbours // 2 if self.large else params.neighbours
        band = Band.nearest(placed, frame.target, near)
        start = self.pair.start
        if start is not None:
            former = start.plan.tocoo()
            band = band.union(Band.of(former.row, former.col, band.shape))
        if self.pins is not None:
            at = placement.apply(self.pins.source)
            pulled = placed + self.pins.pull(placed, at)
            band = band.union(Band.nearest(pulled, frame.target, near))
        band = self.rules.applied(band, placed, frame.target, near)
        if not (masses.p.all() and masses.q.all()):
            band = band.keep((masses.p[band.i] > 0) & (masses.q[band.j] > 0))
        cost = self._cost(band, placement)
        held = self.rules.held if self.rules else None
        if self.large:
            return local_problem(
                band, cost, placed, frame.target, params.alpha, (masses.p, masses.q), held
            )
        if params.structure == "graph":
            own = LowRankDistances.graph(frame.source, params.rank)
            other = LowRankDistances.graph(frame.target, params.rank)
        else:
            own, other = common_distances(placed, frame.target, params.rank)
        return FusedProblem(band, cost, own, other, params.alpha, masses.p, masses.q, held)

    def _cost(self, band: Band, placement: Placement) -> Floats:
        """(nnz,) feature costs, pins included."""
        frame, space = self.frame, self.frame.features
        cost = np.negative(band.dot(space.source, space.target), dtype=np.float64)
        if space.offset is not None:
            cost += space.offset[band.i]
        if self.pins is not None:
            cost += self.pins.cost(band, frame.source, frame.target, placement.pose.matrix)
        return cost

    def _start(
        self, problem: FusedProblem, placed: Floats, masses: Masses, former: Solution | None
    ) -> Floats:
        """A coupling by features and places, or the former one where there is one."""
        band = problem.band
        scale = Scaling(band, masses.p, masses.q, problem.held)
        gaps = band.gaps(placed, self.frame.target)
        fresh = scale(
            -(problem.cost + _START_RANGE * gaps) / _START_BLUR,
            _START_BLUR,
            self.params.relaxation,
            mass=masses.mass,
            iterations=_START_SCALING,
        )
        if former is not None:
            known = band.values_from(former.band, former.values)
        elif self.pair.start is not None:
            plan = self.pair.start.plan.tocoo()
            keys = plan.row.astype(np.int64) * band.shape[1] + plan.col
            order = np.argsort(keys)
            own = Band.of(plan.row, plan.col, band.shape)
            known = band.values_from(own, plan.data[order])
        else:
            return fresh
        share = _REVIVED * masses.mass
        return known * ((masses.mass - share) / max(float(known.sum()), 1e-300)) + fresh * _REVIVED

    # Telling -------------------------------------------------------------------------------

    def _show(self, phase: str, placed: Floats) -> None:
        if self.ctx.wants_states:
            self.done += 1
            self.ctx.show(AlignmentState(phase, self.done, placed * self.frame.pitch, None))

    def _watch(self, placed: Floats) -> Watch | None:
        if not self.ctx.wants_states:
            return None
        positions = placed * self.frame.pitch

        def watch(band: Band, values: Floats, objective: Floats, errors: Floats) -> None:
            self.done += 1
            there = barycentres(band.matrix(values), self.pair.target.coordinates)
            self.ctx.show(AlignmentState("solve", self.done, positions, there, objective, errors))

        return watch
