#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "broker/context.h"

/// What Prometheus is told, in its text format: the metrics of Apache's broker 5.5 under their
/// names (BrokerMetricsManager and its siblings, as its exporter writes them), and our own,
/// apogee_*. docs/metrics.md lists them.
///
/// Threads: any that may block; the tables it walks through lock inside. Nothing is kept between
/// two calls.
namespace apogee::broker {

using Labels = std::vector<std::pair<std::string, std::string>>;

/// Writes the text. Families come one after the other, each with its series.
class Exposition {
 public:
  /// `common`: labels of every series. `series_max`: of one family; more are not written.
  Exposition(Labels common, std::size_t series_max);

  void family(std::string_view name, std::string_view type, std::string_view help);
  /// A series of the family begun last.
  void value(const Labels& labels, double value);
  /// The three parts of a histogram's series. `counts` has one more than `bounds`, not cumulated.
  void histogram(const Labels& labels, std::span<const double> bounds,
                 std::span<const std::uint64_t> counts, double sum);
  std::size_t series_max() const { return series_max_; }
  Buffer take() { return std::move(out_); }

 private:
  void series(std::string_view suffix, const Labels& labels, std::string_view le, double value);

  const Labels common_;
  const std::size_t series_max_;
  std::string name_;
  Buffer out_;
};

class Popping;
class TimerMessages;
class Transactions;

/// Figures that others add. What is absent is not shown.
struct MetricsSources {
  const TimerMessages* timer = nullptr;
  const Transactions* transactions = nullptr;
  const Popping* popping = nullptr;
  std::function<std::int32_t()> waiting_for_workers;
  std::function<std::size_t()> connections;
};

/// The whole page.
Buffer metrics_page(Context& context, const MetricsSources& sources);

/// "name:value,name:value" as labels. kInvalidArgument names what is no label.
Result<Labels> parse_labels(std::string_view text);

}  // namespace apogee::broker
