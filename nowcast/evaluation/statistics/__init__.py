"""Statistics: sums over forecasts and observations that add up, and the scores made of them.

It may import ``runtime`` and ``types``. Read ``base`` first, then ``rain``; what tables and reports
must know of a score (better direction, title, unit) stands in ``scores``.

A score of your own is a class in your package with two methods and the name of what it gives::

    class RootError(Statistic):
        scores = {"root_error": Score("lower", title="error of square roots", unit="√(mm/h)")}

        def of(self, forecast, observation):
            error = np.abs(np.sqrt(forecast) - np.sqrt(observation))
            known = ~np.isnan(error)
            return {"error": error.sum((0, 2, 3), where=known), "pixels": known.sum((0, 2, 3))}

        def values(self, sums):
            return {"root_error": ratio(sums["error"], sums["pixels"])}

``of`` gets (B, T, H, W) with NaN where a pixel does not count, and returns arrays that add up over
batches, leads last; ``values`` makes scores by lead of such sums, also of many draws at once. The
package is a plug-in (``nowcast.runtime.plugins``), and a YAML file in its folder conf/scores names
the class by ``_target_``.
"""
