package driver

import (
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/hostvol/hostvol/pkg/volume"
)

// The field numbers of csi.proto that page writes.
const (
	fieldEntries   protowire.Number = 1 // ListVolumesResponse.entries
	fieldVolume    protowire.Number = 1 // ListVolumesResponse.Entry.volume
	fieldCapacity  protowire.Number = 1 // Volume.capacity_bytes
	fieldID        protowire.Number = 2 // Volume.volume_id
	fieldContent   protowire.Number = 4 // Volume.content_source
	averageEntries                  = 128
)

// page is the answer to ListVolumes, with its entries encoded already. All
// volumes have the same topology, and marshalling that map for each of them
// takes longer than all the rest of the call: so it is encoded once. Bytes in
// the place of unknown fields are sent as they are, and whoever receives them
// finds the entries.
func (d *Driver) page(volumes []volume.Volume, next string) *csi.ListVolumesResponse {
	out := &csi.ListVolumesResponse{NextToken: next}
	raw := make([]byte, 0, len(volumes)*averageEntries)
	var v, entry []byte
	for _, one := range volumes {
		v = protowire.AppendTag(v[:0], fieldCapacity, protowire.VarintType)
		v = protowire.AppendVarint(v, uint64(one.Bytes)) //nolint:gosec // positive
		v = protowire.AppendTag(v, fieldID, protowire.BytesType)
		v = protowire.AppendString(v, one.Handle)
		if source := contentSource(one.Content); source != nil {
			v = protowire.AppendTag(v, fieldContent, protowire.BytesType)
			v = protowire.AppendBytes(v, encode(source))
		}
		v = append(v, d.hereEncoded...)
		entry = protowire.AppendTag(entry[:0], fieldVolume, protowire.BytesType)
		entry = protowire.AppendBytes(entry, v)
		raw = protowire.AppendTag(raw, fieldEntries, protowire.BytesType)
		raw = protowire.AppendBytes(raw, entry)
	}
	out.ProtoReflect().SetUnknown(raw)
	return out
}

// encodeHere encodes the part of a csi.Volume that all volumes have in common.
func encodeHere(here []*csi.Topology) []byte {
	return encode(&csi.Volume{AccessibleTopology: here})
}

func encode(m proto.Message) []byte {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // a message of strings that are UTF-8: ids, or checked by config
	}
	return data
}
