"""Statistics: sums over forecasts and observations that add up, and the scores made of them.

It may import ``runtime`` and ``types``. Read ``base`` first, then ``rain``; what tables and reports
must know of a score (better direction, title, unit) stands in ``scores``.

A score of your own is a class in your package with two methods and the name of what it gives::

    class LargestRates(Statistic):
        scores = {"peak_error": Score("near 0", title="error of the largest rate", unit="mm/h")}

        def of(self, forecast, observation):
            off = np.nanmax(forecast, (2, 3)) - np.nanmax(observation, (2, 3))
            return {"off": np.nansum(off, axis=0), "cases": np.isfinite(off).sum(axis=0)}

        def values(self, sums):
            return {"peak_error": ratio(sums["off"], sums["cases"])}

``of`` gets (B, T, H, W) with NaN where a pixel does not count, and returns arrays that add up over
batches, leads last; ``values`` makes scores by lead of such sums, also of many draws at once. The
package is a plug-in of nowcast, and its YAML file in conf/scores names the class by ``_target_``.
"""
