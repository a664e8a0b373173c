// Package profile brings the NICs of this node into the state that profiles declare. Plan
// compares and returns the steps. Applier takes the steps and reads each change back.
// Converge repeats both until nothing is left to do.
//
//	govern.go      which profile and which group a PF or VF belongs to
//	custody.go     who uses a PF or VF, and which changes that forbids
//	gather.go      the input of Plan, read once per PF
//	plan.go        the steps of a PF
//	plan_vf.go     the steps of a VF: one for each row of device.Knobs that differs
//	step.go        the steps and their text
//	apply.go       the steps of several PFs at once
//	apply_pf.go    number of VFs, MTU, up
//	apply_vf.go    the knobs of all VFs of a PF, in the order of their places
//	apply_knobs.go knobs at the PF: one message per VF, and one reading for all
//	reserve.go     reservations, so that nobody gets a VF that is being changed
//	converge.go    plan and apply until nothing is left
//	status.go      why a profile is not in effect
//	drift.go       knobs that somebody has changed by hand
//
// Plan is a pure function of profiles and NICs. It adopts existing VFs that fit, and a
// second plan after a successful one is empty. A VF in use is never changed: until its
// release, its knobs belong to the pod's network. A PF that the host uses is changed only
// if the profile names the PF.
//
// The package does not put VFs into pools (pkg/config does) and does not drain nodes. Its
// only memory is the number of VFs that a PF has just refused.
package profile
