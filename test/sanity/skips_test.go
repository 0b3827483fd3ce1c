package sanity

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
)

// skip allows specs to be skipped, and says why.
type skip struct {
	specs  *regexp.Regexp // of the spec's full text, which begins with its combination
	reason string
}

// allowed is exact: a skipped spec that no entry names fails the suite, and so does an entry whose specs run.
var allowed = []skip{
	{regexp.MustCompile(`CreateSnapshot \[Controller Server\] should succeed when creating a snapshot with accessibility requirements`), "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS is alpha and not advertised: a snapshot is where its volume is"},
	{regexp.MustCompile(`^\S+ \S+ distributed .*GroupController Service`), "distributed has no groups: the snapshotter cannot be routed to the volumes' node"},
	{regexp.MustCompile(`volume attribute class|ModifyVolume \[Controller Server\]`), "MODIFY_VOLUME is not advertised: mutable parameters come later"},
	{regexp.MustCompile(`ControllerPublishVolume should fail when the volume is already published but is incompatible`), "PUBLISH_READONLY is not advertised: publication is stateless"},
	{regexp.MustCompile(`ControllerPublishVolume should fail when publishing more volumes than the node max attach limit`), "the limit is the scheduler's to hold: publication is stateless and counts nothing"},
	{regexp.MustCompile(`^\S+ \S+ distributed .*(ControllerPublishVolume|ControllerUnpublishVolume|volume lifecycle) `), "distributed has no attach: external-attacher cannot be routed to the volume's node"},
	{regexp.MustCompile(`^\S+ \S+ distributed ExpandVolume \[Controller Server\]`), "distributed expands on the node: external-resizer cannot be routed to the volume's node"},
}

// judge compares the skipped specs with the allowed ones. Pending specs are csi-sanity's own choice. When the
// suite was focused on some specs, or did not start, nothing can be said.
func judge(report ginkgo.Report) []string {
	specs := report.SpecReports.WithLeafNodeType(types.NodeTypeIt)
	if len(report.SuiteConfig.FocusStrings)+len(report.SuiteConfig.SkipStrings) > 0 || specs.CountWithState(types.SpecStatePassed) == 0 {
		return nil
	}
	var complaints []string
	counts, ran := make([]int, len(allowed)), make([]string, len(allowed))
	for _, spec := range specs {
		at := entryFor(spec.FullText())
		switch {
		case spec.State == types.SpecStateSkipped && at < 0:
			complaints = append(complaints, fmt.Sprintf("skipped without a reason in skips_test.go: %s: %s", spec.FullText(), spec.FailureMessage()))
		case spec.State == types.SpecStateSkipped:
			counts[at]++
		case spec.State == types.SpecStatePassed && at >= 0:
			ran[at] = spec.FullText()
		}
	}
	var summary strings.Builder
	for i, skip := range allowed {
		switch {
		case ran[i] != "":
			complaints = append(complaints, fmt.Sprintf("ran although %q: narrow or remove the entry: %s", skip.reason, ran[i]))
		case counts[i] == 0:
			complaints = append(complaints, fmt.Sprintf("no spec is skipped because %q: remove the entry", skip.reason))
		}
		fmt.Fprintf(&summary, "%4d skipped: %s\n", counts[i], skip.reason)
	}
	fmt.Fprint(ginkgo.GinkgoWriter, summary.String())
	return complaints
}

func entryFor(text string) int {
	for i, skip := range allowed {
		if skip.specs.MatchString(text) {
			return i
		}
	}
	return -1
}
