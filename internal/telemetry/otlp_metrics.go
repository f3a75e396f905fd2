package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// metricExporter sends the figures to the collector. It implements
// metric.Exporter, and tells link alone of its failures.
type metricExporter struct {
	client *otlpClient
	link   *link
}

// Temporality implements metric.Exporter: sums since the start, so that what
// did not arrive is in what arrives next.
func (*metricExporter) Temporality(metric.InstrumentKind) metricdata.Temporality {
	return metricdata.CumulativeTemporality
}

// Aggregation implements metric.Exporter.
func (*metricExporter) Aggregation(k metric.InstrumentKind) metric.Aggregation {
	return metric.DefaultAggregationSelector(k)
}

// Export implements metric.Exporter.
func (e *metricExporter) Export(ctx context.Context, m *metricdata.ResourceMetrics) error {
	_, err := e.client.post(ctx, "v1/metrics", metricsMessage(m))
	e.link.came(ctx, err)
	return nil
}

// ForceFlush implements metric.Exporter: nothing is held back.
func (*metricExporter) ForceFlush(context.Context) error { return nil }

// Shutdown implements metric.Exporter.
func (*metricExporter) Shutdown(context.Context) error { return nil }

// metricsMessage is m in OTLP. MetricsData has the encoding of
// ExportMetricsServiceRequest, whose package brings gRPC.
func metricsMessage(m *metricdata.ResourceMetrics) *metricspb.MetricsData {
	r := &metricspb.ResourceMetrics{
		Resource: &resourcepb.Resource{Attributes: keyValues(m.Resource.Set())}, SchemaUrl: m.Resource.SchemaURL(),
	}
	for i := range m.ScopeMetrics {
		s := &m.ScopeMetrics[i]
		scope := &metricspb.ScopeMetrics{
			Scope: &commonpb.InstrumentationScope{Name: s.Scope.Name, Version: s.Scope.Version}, SchemaUrl: s.Scope.SchemaURL,
		}
		for j := range s.Metrics {
			if one := metricMessage(&s.Metrics[j]); one != nil {
				scope.Metrics = append(scope.Metrics, one)
			}
		}
		r.ScopeMetrics = append(r.ScopeMetrics, scope)
	}
	return &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{r}}
}

// metricMessage is one metric, nil for a kind that nothing here makes.
func metricMessage(m *metricdata.Metrics) *metricspb.Metric {
	out := &metricspb.Metric{Name: m.Name, Description: m.Description, Unit: m.Unit}
	const cumulative = metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	switch d := m.Data.(type) {
	case metricdata.Gauge[float64]:
		out.Data = &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: numbers(d.DataPoints)}}
	case metricdata.Sum[float64]:
		out.Data = &metricspb.Metric_Sum{Sum: &metricspb.Sum{
			DataPoints: numbers(d.DataPoints), AggregationTemporality: cumulative, IsMonotonic: d.IsMonotonic,
		}}
	case metricdata.Histogram[float64]:
		out.Data = &metricspb.Metric_Histogram{Histogram: &metricspb.Histogram{
			DataPoints: histograms(d.DataPoints), AggregationTemporality: cumulative,
		}}
	case metricdata.Summary:
		out.Data = &metricspb.Metric_Summary{Summary: &metricspb.Summary{DataPoints: summaries(d.DataPoints)}}
	default:
		return nil
	}
	return out
}

func numbers(points []metricdata.DataPoint[float64]) []*metricspb.NumberDataPoint {
	out := make([]*metricspb.NumberDataPoint, len(points))
	for i := range points {
		p := &points[i]
		out[i] = &metricspb.NumberDataPoint{
			Attributes: keyValues(&p.Attributes), StartTimeUnixNano: nanoseconds(p.StartTime), TimeUnixNano: nanoseconds(p.Time),
			Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: p.Value},
		}
	}
	return out
}

func histograms(points []metricdata.HistogramDataPoint[float64]) []*metricspb.HistogramDataPoint {
	out := make([]*metricspb.HistogramDataPoint, len(points))
	for i := range points {
		p := &points[i]
		out[i] = &metricspb.HistogramDataPoint{
			Attributes: keyValues(&p.Attributes), StartTimeUnixNano: nanoseconds(p.StartTime), TimeUnixNano: nanoseconds(p.Time),
			Count: p.Count, Sum: &p.Sum, BucketCounts: p.BucketCounts, ExplicitBounds: p.Bounds,
		}
		if v, ok := p.Min.Value(); ok {
			out[i].Min = &v
		}
		if v, ok := p.Max.Value(); ok {
			out[i].Max = &v
		}
	}
	return out
}

func summaries(points []metricdata.SummaryDataPoint) []*metricspb.SummaryDataPoint {
	out := make([]*metricspb.SummaryDataPoint, len(points))
	for i := range points {
		p := &points[i]
		out[i] = &metricspb.SummaryDataPoint{
			Attributes: keyValues(&p.Attributes), StartTimeUnixNano: nanoseconds(p.StartTime), TimeUnixNano: nanoseconds(p.Time),
			Count: p.Count, Sum: p.Sum,
		}
		for _, q := range p.QuantileValues {
			out[i].QuantileValues = append(out[i].QuantileValues, &metricspb.SummaryDataPoint_ValueAtQuantile{Quantile: q.Quantile, Value: q.Value})
		}
	}
	return out
}

func nanoseconds(t time.Time) uint64 {
	return uint64(max(0, t.UnixNano()))
}

// keyValues are attributes, which here are strings, numbers and booleans.
func keyValues(set *attribute.Set) []*commonpb.KeyValue {
	out := make([]*commonpb.KeyValue, 0, set.Len())
	for i := set.Iter(); i.Next(); {
		a := i.Attribute()
		v := &commonpb.AnyValue{}
		switch a.Value.Type() { //nolint:exhaustive // the rest goes as text
		case attribute.BOOL:
			v.Value = &commonpb.AnyValue_BoolValue{BoolValue: a.Value.AsBool()}
		case attribute.INT64:
			v.Value = &commonpb.AnyValue_IntValue{IntValue: a.Value.AsInt64()}
		case attribute.FLOAT64:
			v.Value = &commonpb.AnyValue_DoubleValue{DoubleValue: a.Value.AsFloat64()}
		default:
			v.Value = &commonpb.AnyValue_StringValue{StringValue: a.Value.String()}
		}
		out = append(out, &commonpb.KeyValue{Key: string(a.Key), Value: v})
	}
	return out
}
