// Package metrics turns the state of the volume service and the calls to the
// driver into Prometheus metrics. docs/operations.md lists them.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hostvol/hostvol/pkg/volume"
)

// Metrics are those of one process.
type Metrics struct {
	Registry *prometheus.Registry
	calls    *prometheus.HistogramVec
}

// New makes the metrics of a service.
func New(volumes *volume.Service, version string) *Metrics {
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hostvol_rpc_duration_seconds", Help: "Duration of CSI calls.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1, 5, 30},
		}, []string{"method", "code"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hostvol_build_info", Help: "Always 1; the version is a label.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.Registry.MustRegister(m.calls, build, newPools(volumes))
	return m
}

// Observe records one call.
func (m *Metrics) Observe(method, code string, took time.Duration) {
	m.calls.WithLabelValues(method, code).Observe(took.Seconds())
}
