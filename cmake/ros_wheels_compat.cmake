# Injected with -DCMAKE_PROJECT_INCLUDE=<this file>, only where ROS 2 comes from pip wheels; CMakeLists.txt stays plain ROS.
# It runs at the end of CMakeLists.txt and mends the include directories of two kinds of targets.
function(lisa_ros_mend_include_directories)
  # The wheels' targets name directories of the machine that built the wheels, which CMake rejects here: drop what
  # does not exist. The right Python and NumPy directories are found by the generator itself.
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(directories)
      set(kept "")
      foreach(directory IN LISTS directories)
        if(NOT IS_ABSOLUTE "${directory}" OR EXISTS "${directory}")
          list(APPEND kept "${directory}")
        endif()
      endforeach()
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
    endif()
  endforeach()

  # Our own generated target exports NumPy's directory, which lies in .venv/ and so in the source tree: CMake forbids
  # that in an installed target, and nobody needs it there.
  set(target ${PROJECT_NAME}__rosidl_generator_py)
  if(TARGET ${target})
    get_target_property(directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
    set(kept "")
    foreach(directory IN LISTS directories)
      if(IS_ABSOLUTE "${directory}")
        set(directory "$<BUILD_INTERFACE:${directory}>")
      endif()
      list(APPEND kept "${directory}")
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
  endif()
endfunction()
cmake_language(DEFER CALL lisa_ros_mend_include_directories)
