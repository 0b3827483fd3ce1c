package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hostvol/hostvol/pkg/volume"
)

// pools asks the service when it is scraped.
type pools struct {
	volumes *volume.Service

	open, enforced, healthy, total, limit, reserved, free, available *prometheus.Desc
	volumeCount, quarantined, trashBytes, trashEntries, oldest       *prometheus.Desc
	findings, volumeFindings                                         *prometheus.Desc
	snapshotCount, copies, copiesEnded, copiedFiles, copiedBytes     *prometheus.Desc
}

func newPools(volumes *volume.Service) *pools {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("hostvol_"+name, help, append([]string{"pool"}, labels...), nil)
	}
	return &pools{
		volumes:        volumes,
		open:           desc("pool_open", "1 when the configured pool is open."),
		enforced:       desc("pool_enforced", "1 when the pool can enforce sizes.", "method"),
		healthy:        desc("pool_writable", "1 when the pool takes writes."),
		total:          desc("pool_filesystem_bytes", "Size of the pool's filesystem."),
		free:           desc("pool_filesystem_free_bytes", "Free bytes of the pool's filesystem."),
		limit:          desc("pool_limit_bytes", "Bytes that may be promised, overcommitment included."),
		reserved:       desc("pool_reserved_bytes", "Sum of the sizes of all that is in the pool."),
		available:      desc("pool_available_bytes", "Size of the largest volume that can be made."),
		volumeCount:    desc("pool_volumes", "Number of volumes."),
		snapshotCount:  desc("pool_snapshots", "Number of snapshots."),
		copies:         desc("pool_copies", "Number of copies under way: snapshots, and volumes that start with content."),
		copiesEnded:    desc("pool_copies_total", "Number of copies that have ended.", "result"),
		copiedFiles:    desc("pool_copied_files_total", "Files and directories copied, one by one, so far."),
		copiedBytes:    desc("pool_copied_bytes_total", "Sizes of the files copied so far, holes and shared blocks included."),
		quarantined:    desc("pool_quarantined_items", "Number of items that cannot be understood."),
		trashBytes:     desc("pool_trash_bytes", "Sum of the sizes of what is in the trash."),
		trashEntries:   desc("pool_trash_entries", "Number of deleted volumes that are not purged."),
		oldest:         desc("pool_purge_backlog_seconds", "How long ago the oldest entry of the trash should have been purged."),
		findings:       desc("pool_findings", "Health findings about the pool.", "reason"),
		volumeFindings: prometheus.NewDesc("hostvol_volume_findings", "Number of volumes with a health finding.", []string{"reason"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *pools) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *pools) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	backlog := map[string]float64{}
	for _, e := range c.volumes.Trash() {
		if e.ByHand {
			continue
		}
		backlog[e.Pool] = max(backlog[e.Pool], time.Since(e.Expiry).Seconds())
	}
	for _, p := range c.volumes.Pools() {
		gauge(c.open, bit(p.Open), p.Name)
		if !p.Open {
			continue
		}
		gauge(c.healthy, bit(p.Problem == ""), p.Name)
		gauge(c.enforced, bit(p.Enforcement.On()), p.Name, p.Enforcement.Method)
		gauge(c.total, float64(p.Space.Total), p.Name)
		gauge(c.free, float64(p.Space.Free), p.Name)
		gauge(c.limit, float64(p.Space.Limit), p.Name)
		gauge(c.reserved, float64(p.Space.Reserved), p.Name)
		gauge(c.available, float64(p.Space.Available), p.Name)
		gauge(c.trashBytes, float64(p.Space.Trash), p.Name)
		gauge(c.volumeCount, float64(p.Volumes), p.Name)
		gauge(c.snapshotCount, float64(p.Snapshots), p.Name)
		gauge(c.quarantined, float64(p.Quarantined), p.Name)
		gauge(c.trashEntries, float64(p.Trash), p.Name)
		gauge(c.oldest, backlog[p.Name], p.Name)
	}
	c.collectCopies(ch)
	counts := map[[2]string]float64{}
	for _, f := range c.volumes.StorageHealth() {
		counts[[2]string{f.Pool, f.Reason}]++
	}
	for reason, n := range c.volumes.FindingCounts() {
		gauge(c.volumeFindings, float64(n), reason)
	}
	for key, n := range counts {
		gauge(c.findings, n, key[0], key[1])
	}
}

// collectCopies counts those under way as well, so that a long copy shows its
// progress.
func (c *pools) collectCopies(ch chan<- prometheus.Metric) {
	metric := func(d *prometheus.Desc, t prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, value, labels...)
	}
	running, totals := c.volumes.Copies()
	count := map[string]float64{}
	for _, one := range running {
		count[one.Pool]++
		t := totals[one.Pool]
		t.Files += one.Files
		t.Bytes += one.Bytes
		totals[one.Pool] = t
	}
	for pool, t := range totals {
		metric(c.copies, prometheus.GaugeValue, count[pool], pool)
		metric(c.copiesEnded, prometheus.CounterValue, float64(t.Done), pool, "done")
		metric(c.copiesEnded, prometheus.CounterValue, float64(t.Failed), pool, "failed")
		metric(c.copiesEnded, prometheus.CounterValue, float64(t.Abandoned), pool, "abandoned")
		metric(c.copiedFiles, prometheus.CounterValue, float64(t.Files), pool)
		metric(c.copiedBytes, prometheus.CounterValue, float64(t.Bytes), pool)
	}
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
