# shellcheck shell=bash
# How many times slower than a usual machine this one is (an emulated one, say): time limits are multiplied by it.

slowness() # → a number, at least 1
{
        local i start=${EPOCHREALTIME/./} nominal_us=500000
        for ((i = 0; i < 500000; i++)); do :; done
        local took=$((${EPOCHREALTIME/./} - start))
        echo $((took / nominal_us > 1 ? took / nominal_us : 1))
}
