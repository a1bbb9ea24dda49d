// What headers of newer releases of GCC's C++ library ask that library for, and that of GCC 12 (Ubuntu 22.04) does not
// have.
#include <ios>
#include <string>

namespace std {

// <iostream> asks for this function in the place of an object of each file that includes it. Such an object is here.
void ios_base_library_init();
void ios_base_library_init() {}
static ios_base::Init streams_are_made;

// A part of `replace` that was not on its own before.
template void string::_M_replace_cold(pointer, size_type, const char*, size_type, size_type);

}  // namespace std
