package driver

import (
	"fmt"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"

	"github.com/hostvol/hostvol/pkg/volume"
)

// A page that is encoded by hand must be what the library would have sent.
func TestPageIsWhatTheLibraryEncodes(t *testing.T) {
	here := []*csi.Topology{{Segments: map[string]string{"topology.hostvol.csi.io/node": "node-a"}}}
	d := &Driver{here: here, hereEncoded: encodeHere(here)}
	for _, n := range []int{0, 1, 100} {
		var volumes []volume.Volume
		want := &csi.ListVolumesResponse{NextToken: "next"}
		for i := range n {
			v := volume.Volume{Handle: fmt.Sprintf("pvc-%d", i), Bytes: int64(i+1) << 20}
			switch i % 3 {
			case 1:
				v.Content.Snapshot = fmt.Sprintf("snap-%d", i)
			case 2:
				v.Content.Volume = "pvc-0"
			}
			volumes = append(volumes, v)
			want.Entries = append(want.Entries, &csi.ListVolumesResponse_Entry{Volume: d.volume(v)})
		}
		data, err := proto.Marshal(d.page(volumes, "next"))
		if err != nil {
			t.Fatal(err)
		}
		got := &csi.ListVolumesResponse{}
		if err := proto.Unmarshal(data, got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, want) {
			t.Fatalf("%d volumes: got %v, want %v", n, got, want)
		}
	}
}
